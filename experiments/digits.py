"""The recipe of quickstart.py on clips of six frames, for longer.

  python -m visor_jax.main --config=experiments/digits.py --workdir=runs/digits
  ... --config=experiments/digits.py:control=True --workdir=runs/control

The control is a network without SELF layers, trained alone for the same steps.
At least 20 visual tokens per text token. 16 minutes of one CPU core.
Expected, three seeds: coarse 100 % under every plan; fine 92 % with max and 72
with min; the router 99 % of max's accuracy at 38 % of its LLM FLOPs. See
docs/digits.md.
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, jobs='all', control=False)
  c = config.digits(frames=6, share=1.5)
  c.jobs = arg.jobs
  if arg.control:
    for stage in ('cross', 'full', 'universal'):
      c[stage].plan = 'min'
    c.eval.plans = 'min'
    if arg.jobs == 'all':
      c.jobs = 'base+cross+full+universal+eval+report'
  return c
