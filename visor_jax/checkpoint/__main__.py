"""Checks that checkpoints are what was written.

python -m visor_jax.checkpoint verify --workdir=WORKDIR
python -m visor_jax.checkpoint verify --checkpoint=CKPT
"""

from collections.abc import Sequence
import pathlib
import sys

from visor_jax.checkpoint import manifest
from visor_jax.checkpoint import steps
from visor_jax.checkpoint import store
from visor_jax.runtime import command
from visor_jax.runtime import console
from visor_jax.runtime import paths
from visor_jax.spec import workdir


def verify(folder: pathlib.Path | str) -> bool:
  """Prints of every checkpoint beneath a folder whether it is good.

  Args:
    folder: a checkpoint, a stage, a workdir, or more.

  Returns:
    Whether there are any, and all are good.
  """
  folder = paths.parse(folder).absolute()
  checkpoints = _beneath(folder)
  if not checkpoints:
    print(f'there is no checkpoint in {folder}')
    return False
  good = 0
  for path in checkpoints:
    faults = manifest.faults(path)
    good += not faults
    text = store.message(path, faults) if faults else f'{path}: good'
    print(console.printable(text), flush=True)
    for file in [] if faults else manifest.strays(path):
      file = console.printable(str(path / file))
      print(f'{file}: passed over, no part of a checkpoint')
  print(f'{good} of {len(checkpoints)} checkpoints are good')
  return good == len(checkpoints)


def _beneath(folder: pathlib.Path) -> list[pathlib.Path]:
  """The checkpoints in a folder, or the folder itself if it is one."""
  named_as_one = folder.is_dir() and folder.parent.name == workdir.CHECKPOINTS
  if named_as_one or (folder / manifest.name(0)).exists():
    return [folder]
  parents = sorted(folder.rglob(workdir.CHECKPOINTS))
  if folder.name == workdir.CHECKPOINTS:
    parents = [folder, *parents]
  for parent in parents:
    for path in steps.others(parent):
      print(f'{console.printable(str(path))}: passed over, no checkpoint')
  return [
    parent / str(step) for parent in parents for step in steps.steps(parent)
  ]


def main(argv: Sequence[str] | None = None) -> int:
  """The command; returns the exit code."""
  parser = command.parser('python -m visor_jax.checkpoint', __doc__)
  acts = parser.add_subparsers(dest='command', required=True)
  act = acts.add_parser(
    'verify',
    help='hash every file again and compare',
    description='Prints each checkpoint, and each file of it that is '
    'missing, too many, or differs. Exits with 0 if there are checkpoints '
    'and all are good, else with 1. One that is unfinished was being saved '
    'when its run was killed, or is being saved now; a run passes over it.',
  )
  where = act.add_mutually_exclusive_group(required=True)
  where.add_argument(
    '--workdir',
    type=command.path,
    metavar='DIR',
    help='of a run: all its stages',
  )
  where.add_argument(
    '--checkpoint',
    type=command.path,
    metavar='DIR',
    help='an imported checkpoint, or one of a stage '
    '(STAGE/checkpoints/STEP in a workdir)',
  )
  args = parser.parse_args(argv)
  return command.run(
    lambda: 0 if verify(args.workdir or args.checkpoint) else 1
  )


if __name__ == '__main__':
  sys.exit(main())
