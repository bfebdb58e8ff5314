"""The whole recipe on the built-in suite, in minutes on two CPU cores.

  python -m visor_jax.main --config=experiments/quickstart.py \
      --workdir=runs/quickstart

Expected, three seeds: coarse at least 99 % under every plan; fine 91 % with max
and 66 with min; the router 99 % of max's accuracy at 53 to 59 % of its LLM
FLOPs. The dense base is only taught to read, and answers nothing else.
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, jobs='all')
  c = config.digits(frames=2)
  c.jobs = arg.jobs
  return c
