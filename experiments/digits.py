"""The recipe of quickstart.py on clips of ten frames, given an hour.

  python -m visor_jax.main --config=experiments/digits.py --workdir=runs/digits
  ... --config=experiments/digits.py:control=True --workdir=runs/control

The control is a network without SELF layers, trained alone for the same steps.
At least 20 visual tokens per text token. 1 h 8 min on one CPU core that had
other work too. Expected, one seed: fine 73 % with max and 67 % with min, the
router 99 % of max's accuracy at 38 % of its LLM FLOPs, the control 77 % on the
fine group: see docs/digits.md.
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, stage='all', control=False)
  c = config.default()
  c.stage = arg.stage
  c.model.size = 'digits'
  c.model.remat = False  # the model is small
  c.model.cross_layers, c.model.self_layers = (1, 4), (2, 3)
  c.data.digits.frames = 6
  for stage, steps, rate in (
      ('base', 1000, 2e-3),
      ('cross', 100, 2e-3),
      ('full', 1200, 2e-3),
      ('universal', 1500, 1e-3),
      ('policy', 300, 2e-3)):
    c[stage].steps = steps
    c[stage].learning_rate = rate
    c[stage].final = 0.05
  c.data.digits.primers = (300 * c.base.batch, 400 * c.base.batch)
  c.label.examples = 8192
  if arg.control:
    for stage in ('cross', 'full', 'universal'):
      c[stage].plan = 'min'
    c.eval.plans = 'min'
    if arg.stage == 'all':
      c.stage = 'base+cross+full+universal+eval+report'
  return c
