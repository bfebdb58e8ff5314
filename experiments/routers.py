"""The router by labels and by reward, on the network of quickstart.py.

  python -m visor_jax.main --config=experiments/quickstart.py:jobs=$JOBS \
      --workdir=runs/network
  python -m visor_jax.main --config=experiments/routers.py:loss=labels,seed=0 \
      --workdir=runs/labels-0
  ... loss=reward,budget=0.5,seed=0   a router for each budget

with JOBS=base+cross+full+search+universal. A router by labels answers at all
budgets, one by reward at the one that it has learned. Hardware and hours: two
CPU cores, a minute each. Expected: see docs/budget.md.
"""

from visor_jax import config

BUDGETS = (0.35, 0.4, 0.5, 0.6, 0.7)


def get_config(arg=None):
  arg = config.parse_arg(
    arg, loss='labels', budget=0.5, seed=0, network='runs/network'
  )
  c = config.digits(
    frames=2,
    steps=dict(base=0, cross=0, full=0, universal=0, policy=300),
    ladder=(0, 0),
  )
  c.jobs = 'search+label+policy+eval'
  c.seed = arg.seed
  c.model.init_from = arg.network
  c.policy.loss, c.policy.budget = arg.loss, arg.budget
  budgets = BUDGETS if arg.loss == 'labels' else (arg.budget,)
  c.eval.plans = '+'.join(['max', *(f'router@{b:g}' for b in budgets)])
  c.eval.examples = 16384  # what is compared lies close together
  c.eval.measure = False
  return c
