"""Parameter paths, the shared language: freezing, rates, sharding, loading.

A path is 'llm/layers/mlp/up'. Trees are nested dicts; their leaves are arrays,
shapes or shardings.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Any
from typing import TypeAlias
from typing import TypeVar

from flax import traverse_util

from visor_jax.runtime import errors

T = TypeVar('T')

# Nested dicts of arrays, or of what stands for them: shapes, shardings.
Params: TypeAlias = Mapping[str, Any]

# ((regular expression, value), ...): the first that matches a path counts.
Patterns = Sequence[tuple[str, T]]

# What norms have measured is no weight: no stage trains it.
_MEASURED = (r'.*/running_(mean|var)', False)


def by_path(patterns: Patterns[T], paths: Iterable[str]) -> dict[str, T]:
  """The value of the first pattern that matches each path from end to end.

  Raises:
    ValueError: naming the paths that no pattern covers.
  """
  paths = list(paths)
  values = {}
  for path in paths:
    for pattern, value in patterns:
      if re.fullmatch(pattern, path):
        values[path] = value
        break
  missing = sorted(set(paths) - values.keys())
  if missing:
    raise errors.Refusal(
      f'no pattern of {[pattern for pattern, _ in patterns]} covers {missing}'
    )
  return values


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
  """A nested tree to {path: leaf}."""
  return traverse_util.flatten_dict(tree, sep='/')


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
  """{path: leaf} to a nested tree."""
  return traverse_util.unflatten_dict(flat, sep='/')


def split(
  tree: Mapping[str, Any], trains: Patterns[bool]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """A nested tree as {path: leaf} of what trains, and of what is frozen.

  Args:
    tree: parameters, or their shapes or shardings.
    trains: whether a parameter learns, covering every path; what norms have
      measured never does.
  """
  flat = flatten(tree)
  learns = by_path((_MEASURED, *trains), flat)
  return (
    {path: leaf for path, leaf in flat.items() if learns[path]},
    {path: leaf for path, leaf in flat.items() if not learns[path]},
  )
