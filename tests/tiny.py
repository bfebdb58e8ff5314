"""The whole recipe, as small as it can be: for tests of how runs behave."""

from visor_jax import config
from visor_jax.data.suites import sizes as suite_sizes
from visor_jax.spec import sizes
from visor_jax.training import stages

suite_sizes.SIZES['tiny'] = sizes.Size(
  sizes.Vision(16, 1, 2, 16, tile=(40, 16), patch=8),
  sizes.Language(16, 3, 2, 1, 8, 16, vocabulary=64, rope_theta=1e4),
)

STAGES = tuple(stage for stage in stages.STAGES if stage != 'connector')


def get_config(arg=None):
  arg = config.parse_arg(arg, jobs='all')
  c = config.default()
  c.jobs = arg.jobs
  c.model.size = 'tiny'
  for stage in STAGES:
    c[stage].steps = 12
    c[stage].batch = 8
  c.checkpoint.every = 4
  c.log.every = 2
  c.search.examples = c.label.examples = c.eval.examples = 32
  c.eval.batch = c.eval.chunk = 16
  c.label.all_wrong = 'cheapest'  # so little training leaves few labels
  return c
