"""The recipe of quickstart.py on clips of six frames, given an hour.

  python -m visor_jax.main --config=experiments/digits.py --workdir=runs/digits
  ... --config=experiments/digits.py:control=True --workdir=runs/control

The control is a network without SELF layers, trained alone for the same steps.
At least 20 visual tokens per text token. Half an hour on most of a CPU core.
Expected, three seeds: coarse at least 99 % under every plan, fine 90 % with max
and 40 % with min, the router 99 % of max's accuracy at 49 % of its LLM FLOPs:
see docs/digits.md.
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, jobs='all', control=False)
  c = config.default()
  c.jobs = arg.jobs
  c.model.size = 'digits'
  c.model.remat = False  # the model is small
  c.model.cross_layers, c.model.self_layers = (4,), (2, 3)
  c.data.digits.frames = 6
  for stage, steps, rate, final in (
    ('base', 300, 2e-3, 0.5),
    ('cross', 50, 2e-3, 0.5),
    ('full', 1600, 2e-3, 0.5),
    ('universal', 900, 1e-3, 0.05),
    ('policy', 300, 2e-3, 0.05),
  ):
    c[stage].steps = steps
    c[stage].learning_rate = rate
    c[stage].end_lr_fraction = final
  c.universal.max_share = 0.25  # min has most to learn
  c.data.digits.primers.update(
    base=(c.base.steps * c.base.batch, 0),
    cross=(c.cross.steps * c.cross.batch, 0),
    full=(250 * c.full.batch, 350 * c.full.batch),
  )
  c.label.examples = 8192
  if arg.control:
    for stage in ('cross', 'full', 'universal'):
      c[stage].plan = 'min'
    c.eval.plans = 'min'
    if arg.jobs == 'all':
      c.jobs = 'base+cross+full+universal+eval+report'
  return c
