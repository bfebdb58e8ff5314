"""The whole recipe on the built-in suite, in eleven minutes on two CPU cores.

  python -m visor_jax.main --config=experiments/quickstart.py \
      --workdir=runs/quickstart

Expected, one seed: coarse at least 98 % under every plan; fine 76 % with max
and 55 % with min; the router 99 % of max's accuracy at 66 % of its LLM FLOPs.
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, stage='all')
  c = config.default()
  c.stage = arg.stage
  c.model.size = 'digits'
  c.model.remat = False  # the model is small
  c.model.cross_layers, c.model.self_layers = (1, 4), (2, 3)
  c.data.digits.frames = 2
  for stage, steps, rate in (
      ('base', 800, 2e-3),
      ('cross', 100, 2e-3),
      ('full', 1300, 2e-3),
      ('universal', 900, 1e-3),
      ('policy', 300, 2e-3)):
    c[stage].steps = steps
    c[stage].learning_rate = rate
    c[stage].final = 0.05
  c.data.digits.primers = (300 * c.base.batch, 400 * c.base.batch)
  c.label.examples = 8192
  return c
