"""The whole recipe on the built-in suite, in minutes on two CPU cores.

  python -m visor_jax.main --config=experiments/quickstart.py \
      --workdir=runs/quickstart

Expected, three seeds: coarse at least 98 % under every plan; fine 92 % with max
and 64 with min; the router 99 % of max's accuracy at 47 to 64 % of its LLM
FLOPs. The dense base is only taught to read, and answers nothing else.
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, jobs='all')
  c = config.digits(frames=2)
  c.jobs = arg.jobs
  return c
