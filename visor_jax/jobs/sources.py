"""Sources and suite of a config, and whether anybody reads their keys."""

import math

import ml_collections

from visor_jax import config as config_lib
from visor_jax.data.suites import table as suites
from visor_jax.runtime import identity
from visor_jax.runtime import paths
from visor_jax.training import stages

# Groups of the config that may name sources; policy only to be told better.
GROUPS = ('data', 'search', 'label', 'eval', *stages.STAGES)


def check(config: ml_collections.ConfigDict) -> None:
  """Checks all keys with sources.

  Raises:
    ValueError: naming the key, what was given and what is expected.
  """
  for group in GROUPS:
    _check_form(f'{group}.sources', config[group].sources)
  given = [f'{group}.sources' for group in GROUPS if config[group].sources]
  if 'policy.sources' in given:
    raise ValueError(
      'policy.sources is read by nobody: the router learns from the questions '
      'that have labels; set label.sources'
    )
  if given and config.data.suite:
    raise ValueError(
      f'{given[0]} is read by nobody: data.suite is "{config.data.suite}", '
      "which makes its own records; set data.suite='' for sources"
    )
  if config.eval.sources and config.eval.benchmarks:
    raise ValueError(
      f'eval.sources is read by nobody: eval.benchmarks asks '
      f'"{config.eval.benchmarks}"; leave one of them open'
    )
  names = [name for name, _, _ in config.eval.sources]
  unknown = [name for name in config.eval.coarse if name not in names]
  if unknown:
    raise ValueError(
      f'eval.coarse names {", ".join(unknown)}; eval.sources are '
      f'{", ".join(names) or "none"}'
    )


def check_read(config: ml_collections.ConfigDict) -> None:
  """Whether the suite of a config reads the keys of data that were set.

  Raises:
    ValueError: naming those that another suite alone reads.
  """
  default = identity.flatten(config_lib.default())
  groups = suites.unread(config)
  given = [
    key
    for key, value in identity.flatten(config).items()
    if any(f'{key}.'.startswith(f'{group}.') for group in groups)
    and value != default[key]
  ]
  if given:
    raise ValueError(
      f'{", ".join(given)}: read by nobody, as data.suite is '
      f'"{config.data.suite}"; leave out what sets it, or set data.suite to '
      'the suite that reads it'
    )


def _check_form(key: str, sources: tuple) -> None:
  """They are ((name, path, weight), ...)."""
  for source in sources:
    if not (
      isinstance(source, tuple | list)
      and len(source) == 3
      and isinstance(source[0], str)
      and isinstance(source[1], str)
      and isinstance(source[2], int | float)
      and 0 < source[2] < math.inf
    ):
      raise ValueError(
        f'{key} has {source!r}; expected (name, path, weight) with '
        'a weight above 0'
      )
    paths.parse(source[1], f'{key} "{source[0]}"')
  for what, values in (
    ('name', [name for name, _, _ in sources]),
    ('path', [path for _, path, _ in sources]),
  ):
    if len(set(values)) < len(values):
      raise ValueError(f'{key} has a {what} twice: {", ".join(values)}')
