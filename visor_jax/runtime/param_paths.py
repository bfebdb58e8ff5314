"""Parameter paths, the shared language: freezing, rates, sharding, loading."""

import re

from flax import traverse_util


def by_path(patterns, paths) -> dict:
  """The value of the first pattern that matches each path wholly.

  Args:
    patterns: ((regular expression, value), ...).
    paths: parameter paths, as 'llm/layers/mlp/up'.

  Raises:
    ValueError: naming the paths that no pattern covers.
  """
  found = {}
  for path in paths:
    for pattern, value in patterns:
      if re.fullmatch(pattern, path):
        found[path] = value
        break
  missing = sorted(set(paths) - found.keys())
  if missing:
    raise ValueError(
      f'no pattern of {[p for p, _ in patterns]} covers {missing}'
    )
  return found


def flatten(params) -> dict:
  """Nested parameters to {path: array}."""
  return traverse_util.flatten_dict(params, sep='/')


def unflatten(flat) -> dict:
  """{path: array} to nested parameters."""
  return traverse_util.unflatten_dict(flat, sep='/')


def split(params, trains) -> tuple[dict, dict]:
  """Parameters as flat dicts of those that train and those that are frozen.

  Args:
    params: nested.
    trains: ((pattern, bool), ...), covering every path.
  """
  flat = flatten(params)
  learn = by_path(trains, flat)
  return (
    {k: v for k, v in flat.items() if learn[k]},
    {k: v for k, v in flat.items() if not learn[k]},
  )
