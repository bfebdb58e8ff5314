"""The whole recipe on the built-in suite, small."""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, stage='all')
  c = config.default()
  c.stage = arg.stage
  c.model.size = 'digits'
  c.model.remat = False
  for stage, steps in dict(
      base=1000, cross=200, full=500, universal=500, policy=300).items():
    c[stage].steps = steps
    c[stage].learning_rate = 2e-3
  return c
