"""VISOR on LLaVA-OneVision: sizes 0.5b, 1.5b and 7b, one stage at a time.

  python -m visor_jax.main --workdir=WORKDIR \
      --config=experiments/llava_ov.py:size=0.5b,stage=cross

Hardware and hours: not yet run. It loads and validates; there is no data
source for it yet, and no way in for the published weights.

Steps and rates are the paper's, where it gives them: batch 128, 4 M samples
for cross, 3.2 M for full; learning rate 1e-5, 2e-6 for the vision tower.
Expected, LLaVA-OneVision 0.5B: 8.6x fewer LLM FLOPs, 63.6 on the easy and 58.4
on the hard benchmarks (base: 61.5 and 57.1).
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, size='0.5b', stage='all')
  c = config.default()
  c.stage = arg.stage
  c.model.size = arg.size
  c.model.dtype = 'bfloat16'
  c.data.suite = ''
  c.optim.rates = (('vision/.*', 0.2), ('.*', 1.0))
  for stage, steps, rate in (
      ('cross', 31_250, 1e-3),
      ('full', 25_000, 1e-5),
      ('universal', 25_000, 1e-5),
      ('policy', 2_000, 1e-3)):
    c[stage].steps = steps
    c[stage].learning_rate = rate
    c[stage].batch = 128
  c.eval.plans = 'all+router'  # the base has no stage of its own here
  return c
