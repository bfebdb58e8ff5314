"""VISOR in JAX: vision-language models whose cost follows the question."""

from importlib import metadata
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  import pathlib

  import ml_collections

  from visor_jax import inference as inference_lib
  from visor_jax.training import program as program_lib

try:
  __version__ = metadata.version('visor_jax')
except metadata.PackageNotFoundError:  # run from a clone, not installed
  __version__ = 'unknown'


def load(
  folder: 'pathlib.Path | str',
  *,
  dtype: str | None = None,
  allow_untrained: bool = False,
  reduce: str | None = None,
) -> 'inference_lib.Model':
  """A checkpoint to ask; arguments and errors as of `inference.load`."""
  from visor_jax import inference  # jax and all: only who asks pays for it

  return inference.load(
    folder, dtype=dtype, allow_untrained=allow_untrained, reduce=reduce
  )


def train_program(
  config: 'ml_collections.ConfigDict', stage: str
) -> 'program_lib.TrainProgram':
  """A stage's train step, before there is data or a workdir.

  Args:
    config: the whole config.
    stage: name of the stage.

  Raises:
    ValueError: see training.program.from_config.
  """
  from visor_jax.training import program  # jax and all, likewise

  return program.from_config(config, stage)


def _require_command(name: str) -> None:
  """Ends `python -m NAME` where that would do nothing, and say nothing."""
  command = name.removeprefix('visor_jax.')
  if command in (name, '__main__'):
    return
  from visor_jax import __main__ as commands

  if command not in commands.COMMANDS:
    sys.exit(commands.main([command]))


if sys.argv[:1] == ['-m']:  # while the package of a module to run is imported
  _require_command(sys.orig_argv[sys.orig_argv.index('-m') + 1])
