"""Checks that checkpoints are what was written.

python -m visor_jax.checkpoint verify DIR
"""

import argparse
import pathlib
import sys

from visor_jax.checkpoint import manifest
from visor_jax.checkpoint import store


def verify(folder) -> bool:
  """Says of every checkpoint beneath a folder whether it is good.

  Args:
    folder: a checkpoint, a stage, a workdir, or more.

  Returns:
    Are there some, and all good?
  """
  folder = pathlib.Path(folder).absolute()
  if (folder / manifest.name(0)).exists() or (
    folder.is_dir() and folder.parent.name == 'checkpoints'
  ):
    found = [folder]
  else:
    rooms = [folder, *sorted(folder.rglob('checkpoints'))]
    found = [
      room / str(step)
      for room in rooms
      if room.name == 'checkpoints'
      for step in store.steps(room)
    ]
  good = 0
  for path in found:
    faults = manifest.faults(path)
    good += not faults
    print(
      store.message(path, faults) if faults else f'{path}: good', flush=True
    )
  print(
    f'{good} of {len(found)} checkpoints are good'
    if found
    else f'there is no checkpoint in {folder}'
  )
  return 0 < good == len(found)


def main(argv=None) -> int:
  """The command; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog='python -m visor_jax.checkpoint',
    description='Checks that checkpoints are what was written.',
  )
  verify_ = parser.add_subparsers(dest='command', required=True).add_parser(
    'verify',
    help='hash every file again and compare',
    description='Prints each checkpoint, and each file of it that is '
    'missing, too many, or differs. Exits with 0 if there are checkpoints '
    'and all are good, else with 1. One that is unfinished was being saved '
    'when its run was killed, or is being saved now; a run passes over it.',
  )
  verify_.add_argument(
    'dir',
    help='a checkpoint ({stage}/checkpoints/{step}), a stage, a '
    'workdir, or an imported checkpoint folder',
  )
  return 0 if verify(parser.parse_args(argv).dir) else 1


if __name__ == '__main__':
  sys.exit(main())
