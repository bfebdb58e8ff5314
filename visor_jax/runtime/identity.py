"""Which run is this? The keys of its config that decide what comes out."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
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
  'data.planners',
  'data.prefetch',
  'model.remat',
  'model.remat_policy',
  'model.scan',
  'model.loss_chunk',
  'optim.max_nonfinite_steps',
  'policy.features_gb',
  'eval.batch',
  'eval.chunk',
  'eval.measure',
  'eval.data',
  'eval.checkpoint',
)
NEVER_OF_A_STAGE = ('accumulate',)  # likewise, the keys of any stage

# Stages whose keys count where they have steps alone; others always do.
WITH_STEPS = ('connector',)

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

  They come in the order of the config. Of sources it does not matter where
  they lie.
  """
  values = json.loads(json.dumps(flatten(config)))
  absent = {stage for stage in WITH_STEPS if not config[stage].steps}
  return {
    key: _without_paths(value) if _is_sources(key) else value
    for key, value in values.items()
    if _changes_results(key) and key.split('.')[0] not in absent
  }


def fingerprint(config: ml_collections.ConfigDict) -> str:
  """Twelve hex digits that name the result-deciding keys."""
  text = json.dumps(identity(config), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def restore(
  saved: Mapping[str, Value], config: ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
  """Gives a config the values of a saved identity; returns it.

  Args:
    saved: the identity. Of its sources nobody knows any more where they lie.
    config: a whole config; its other keys stay as they are.
  """
  for path, value in saved.items():
    *groups, key = path.split('.')
    group = functools.reduce(lambda node, name: node[name], groups, config)
    if isinstance(value, list) and _is_sources(path):
      value = [[name, '', weight] for name, weight in value]
    with group.ignore_type():
      group[key] = tuple(value) if isinstance(value, list) else value
  return config


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


def flatten(config: ml_collections.ConfigDict) -> dict[str, object]:
  """All keys of a config by their paths."""
  flat: dict[str, object] = {}
  for name, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      flat |= {f'{name}.{key}': leaf for key, leaf in flatten(value).items()}
    else:
      flat[name] = value
  return flat


def _is_sources(key: str) -> bool:
  return key.split('.')[-1] == 'sources'


def _without_paths(sources: Sequence[Sequence]) -> list[Value]:
  """[[name, weight], ...] of [[name, path, weight], ...]."""
  return [[name, weight] for name, _, weight in sources]


def _changes_results(key: str) -> bool:
  groups = key.split('.')
  paths = {'.'.join(groups[:depth]) for depth in range(1, len(groups) + 1)}
  return groups[-1] not in NEVER_OF_A_STAGE and paths.isdisjoint(
    NEVER_CHANGE_RESULTS
  )
