"""Where the rows of a stage come from, and in which shape."""

from collections.abc import Callable
import dataclasses
import functools

import ml_collections

from visor_jax.data import protocols
from visor_jax.data.pipeline import loader
from visor_jax.data.suites import table as suites
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.training import inputs as inputs_lib

LABELLED = 'label'  # the stream whose questions are labelled

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
    record_ids: (name of the stage, its inputs, number of a row) -> what names
      the records behind it.
    row_shape: (suite, whole config, model) -> slots of a row.
    packed: a row may hold several conversations, where the suite packs them.
    labels: so many labels go beside a row; 0 for none.
    features: a step gets what the router reads of the rows, kept from a first
      pass (see features.py); or the rows, where that would take more than the
      stage's key `features_gb`.
  """

  load: Callable[[str, inputs_lib.Inputs], protocols.Load]
  record_ids: Callable[[str, inputs_lib.Inputs, int], tuple[str, ...]]
  row_shape: RowShapeOf
  packed: bool = False
  labels: int = 0
  features: bool = False


def _conversations(stage: str, inputs: inputs_lib.Inputs) -> protocols.Load:
  return inputs.suite.training(stage)


def _conversation_ids(
  stage: str, inputs: inputs_lib.Inputs, row: int
) -> tuple[str, ...]:
  return inputs.suite.record_ids(stage, row)


def _conversation_shape(
  suite: suites.Entry,
  config: ml_collections.ConfigDict,
  model: architecture_lib.Architecture,
) -> batch_lib.RowShape:
  return suite.training_shape(config, model)


def prompt(suite: protocols.Suite, number: int) -> batch_lib.Row:
  """A question that the label job has asked, alone in its row."""
  row, _ = suite.prompt(LABELLED, number)
  return row


def _labelled_prompts(stage: str, inputs: inputs_lib.Inputs) -> protocols.Load:
  if inputs.features is not None:
    read: Callable[[int], protocols.Row] = inputs.features.read
  else:
    read = functools.partial(prompt, inputs.suite)
  return loader.labelled(read, inputs.labels, inputs.config.seed)


def _labelled_ids(
  stage: str, inputs: inputs_lib.Inputs, row: int
) -> tuple[str, ...]:
  question, _ = loader.label_of(row, inputs.labels, inputs.config.seed)
  return inputs.suite.record_ids(LABELLED, question)


def _prompt_shape(
  suite: suites.Entry,
  config: ml_collections.ConfigDict,
  model: architecture_lib.Architecture,
) -> batch_lib.RowShape:
  return suite.prompt_shape(config, model)


# The stage's own stream of conversations with answers.
CONVERSATIONS = Feed(
  _conversations, _conversation_ids, _conversation_shape, packed=True
)

# Questions that the label job has asked, each with the label of its plan.
LABELLED_PROMPTS = Feed(
  _labelled_prompts, _labelled_ids, _prompt_shape, labels=1
)

# Of the same questions what the router reads of them, computed once.
LABELLED_FEATURES = dataclasses.replace(LABELLED_PROMPTS, features=True)
