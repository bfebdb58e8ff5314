"""Where the rows of a stage come from, and in which shape."""

from collections.abc import Callable
import dataclasses

import ml_collections

from visor_jax.data import protocols
from visor_jax.data.pipeline import loader
from visor_jax.data.suites import table as suites
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.training import inputs as inputs_lib

RowShapeOf = Callable[
  [
    suites.Entry,
    ml_collections.ConfigDict,
    architecture_lib.Architecture,
  ],
  batch_lib.RowShape,
]


@dataclasses.dataclass(frozen=True)
class Feed:
  """Rows to learn from.

  Attributes:
    load: (name of the stage, its inputs) -> number of a row -> the row.
    row_shape: (suite, whole config, model) -> slots of a row.
    packed: a row may hold several conversations, where the suite packs them.
    labels: so many labels go beside a row; 0 for none.
  """

  load: Callable[[str, inputs_lib.Inputs], protocols.Load]
  row_shape: RowShapeOf
  packed: bool = False
  labels: int = 0


def _conversations(stage: str, inputs: inputs_lib.Inputs) -> protocols.Load:
  return inputs.suite.training(stage)


def _conversation_shape(
  suite: suites.Entry,
  config: ml_collections.ConfigDict,
  model: architecture_lib.Architecture,
) -> batch_lib.RowShape:
  return suite.training_shape(config, model)


def _labelled_prompts(stage: str, inputs: inputs_lib.Inputs) -> protocols.Load:
  return loader.labelled(
    inputs.suite, 'label', inputs.labels, inputs.config.seed
  )


def _prompt_shape(
  suite: suites.Entry,
  config: ml_collections.ConfigDict,
  model: architecture_lib.Architecture,
) -> batch_lib.RowShape:
  return suite.prompt_shape(config, model)


# The stage's own stream of conversations with answers.
CONVERSATIONS = Feed(_conversations, _conversation_shape, packed=True)

# Questions that the label job has asked, each with the label of its plan.
LABELLED_PROMPTS = Feed(_labelled_prompts, _prompt_shape, labels=1)
