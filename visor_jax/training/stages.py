"""The training stages, in the order of the recipe.

They differ in what trains, what the loss is and what they start from; which
plan runs at a step is a key of the config.
A stage of one's own is a record more in `STAGES`.
"""

from visor_jax.runtime import errors
from visor_jax.training import feeds
from visor_jax.training import losses
from visor_jax.training import stage as stage_lib

_CROSS = 'llm/cross/.*'
_ROUTER = 'router/.*'

# LLaVA's first: the connector alone; tower and decoder have learned before.
CONNECTOR = stage_lib.Stage(
  'connector',
  trains=(('connector/.*', True), ('.*', False)),
  plan='base',
  passes=(1, 2),
)

# The dense model, from scratch or on from there.
BASE = stage_lib.Stage(
  'base',
  trains=((_CROSS, False), (_ROUTER, False), ('.*', True)),
  starts_from=('connector',),
  plan='base',
)

# The base frozen, only CROSS weights learn.
CROSS = stage_lib.Stage(
  'cross',
  trains=((_CROSS, True), ('.*', False)),
  starts_from=('base', 'connector'),
  grafts=True,
  passes=(1, 2),
)

# All weights.
FULL = stage_lib.Stage(
  'full',
  trains=((_ROUTER, False), ('.*', True)),
  starts_from=('cross', 'base', 'connector'),
)

# All weights, one viable plan a step.
UNIVERSAL = stage_lib.Stage(
  'universal',
  trains=((_ROUTER, False), ('.*', True)),
  starts_from=('full', 'cross', 'base', 'connector'),
  needs=('search',),
  plan='viable',
  keys=dict(max_share=0.5),
)

# The router alone; no layer past it runs.
POLICY = stage_lib.Stage(
  'policy',
  trains=((_ROUTER, True), ('.*', False)),
  loss=losses.policy,
  feed=feeds.LABELLED_FEATURES,
  starts_from=('universal', 'full'),
  needs=('label',),
  passes=None,
  keys=dict(
    loss='labels',  # the paper's, or reward: accuracy within a budget
    budget=0.5,  # that reward learns to spend: a share of what max takes,
    budget_of='prefill',  # in LLM prefill, or in total: see spec/shares.py
    select='confidence',  # or argmax: how scores become a plan
    confidence=None,  # None: calibrated on the held-out labels
    keep=0.99,  # calibrate to this share of the largest's accuracy
    level=0.95,  # how probable it is that a promise of accuracy is kept
    features_gb=100.0,  # at most, of features in the workdir, see features.py
    without=(),  # families that the router never sees
  ),
)

STAGES = {
  stage.name: stage
  for stage in (CONNECTOR, BASE, CROSS, FULL, UNIVERSAL, POLICY)
}


def named(name: str) -> stage_lib.Stage:
  """The stage of that name.

  Raises:
    ValueError: there is none.
  """
  if name not in STAGES:
    raise errors.Refusal(f'stage "{name}" is not one of {", ".join(STAGES)}')
  return STAGES[name]
