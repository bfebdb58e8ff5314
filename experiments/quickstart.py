"""The whole recipe on the built-in suite, in minutes on two CPU cores.

  python -m visor_jax.main --config=experiments/quickstart.py \
      --workdir=runs/quickstart

Expected, one seed: coarse at least 95 % under every plan; fine 80 % with max
and 50 % with min; the router 99 % of max's accuracy at 72 % of its LLM FLOPs.
The dense base is only taught to read, and answers nothing else.
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, jobs='all')
  c = config.default()
  c.jobs = arg.jobs
  c.model.size = 'digits'
  c.model.remat = False  # the model is small
  c.model.cross_layers, c.model.self_layers = (4,), (2, 3)
  c.data.digits.frames = 2
  for stage, steps, rate, final in (
    ('base', 250, 2e-3, 0.5),
    ('cross', 40, 2e-3, 0.5),
    ('full', 1200, 2e-3, 0.5),
    ('universal', 700, 1e-3, 0.05),
    ('policy', 300, 2e-3, 0.05),
  ):
    c[stage].steps = steps
    c[stage].learning_rate = rate
    c[stage].end_lr_fraction = final
  c.universal.max_share = 0.25  # min has most to learn
  c.data.digits.primers.update(
    base=(c.base.steps * c.base.batch, 0),
    cross=(c.cross.steps * c.cross.batch, 0),
    full=(200 * c.full.batch, 300 * c.full.batch),
  )
  c.label.examples = 8192
  c.policy.keep = 0.995  # some of it is lost on questions it has not seen
  return c
