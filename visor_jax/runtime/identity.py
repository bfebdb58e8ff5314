"""Which run is this? The keys of its config that decide what comes out."""

from collections.abc import Mapping
import dataclasses
import hashlib
import json

import ml_collections

# Keys, and groups of keys, that change how a run is done and never its results.
NEVER_CHANGE_RESULTS = (
  'jobs',
  'log',
  'mesh',
  'checkpoint',
  'compilation_cache',
  'data.threads',
  'data.prefetch',
  'model.remat',
  'model.remat_policy',
  'model.scan',
  'model.loss_chunk',
  'optim.max_nonfinite_steps',
  'eval.batch',
  'eval.chunk',
  'eval.measure',
  'eval.data',
  'eval.checkpoint',
)

# Keys that every training stage has of which the same is true.
OF_STAGES_NEVER = ('accumulate',)

# What JSON can hold, as read back from it.
Value = bool | int | float | str | list | None


@dataclasses.dataclass(frozen=True)
class Difference:
  """A key that two identities do not agree in.

  Attributes:
    key: path of the key, as 'model.size'.
    here: value in the config at hand; None without one.
    there: value in the saved identity; None without one.
  """

  key: str
  here: Value
  there: Value


def identity(config: ml_collections.ConfigDict) -> dict[str, Value]:
  """The keys that decide the result, flat: {'model.size': '0.5b', ...}.

  They come in the order of the config.
  """
  flat = _flatten(json.loads(json.dumps(config.to_dict())))
  return {key: value for key, value in flat.items() if _changes_results(key)}


def fingerprint(config: ml_collections.ConfigDict) -> str:
  """Twelve hex digits that name the result-deciding keys."""
  text = json.dumps(identity(config), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(
  config: ml_collections.ConfigDict, saved: Mapping[str, Value]
) -> list[Difference]:
  """Result-deciding keys in which a config differs from a saved identity."""
  here = identity(config)
  return [
    Difference(key, here.get(key), saved.get(key))
    for key in sorted(here.keys() | saved.keys())
    if here.get(key) != saved.get(key)
  ]


def _flatten(tree: dict, prefix: str = '') -> dict[str, Value]:
  """Nested keys as one dict by path; sources without where they lie."""
  flat: dict[str, Value] = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= _flatten(value, f'{prefix}{key}.')
    elif key == 'sources':  # where they lie decides nothing
      flat[prefix + key] = [[name, weight] for name, _, weight in value]
    else:
      flat[prefix + key] = value
  return flat


def _changes_results(key: str) -> bool:
  if key.rpartition('.')[2] in OF_STAGES_NEVER:
    return False
  return not any(
    key == other or key.startswith(other + '.')
    for other in NEVER_CHANGE_RESULTS
  )
