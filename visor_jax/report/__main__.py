"""A page of what runs reached: tables, costs, plots.

  python -m visor_jax.report --workdir=WORKDIR [--workdir=ANOTHER ...]

Needs WORKDIR/results.jsonl; shows the search, the calibration of the router
and the losses of the stages as well where WORKDIR has them. Prints the
summary and writes OUT/index.html, one file that opens without a network.
Several workdirs give one page of all their results, and what else there is of
the first. Where they answered under the same plans, as seeds of one recipe do,
or runs before and after a change, they stand run by run, with mean and range.
Workdirs that were not asked alike, as those of two suites, are refused.
"""

from collections.abc import Sequence
import pathlib
import sys

from visor_jax.report import page
from visor_jax.report import repeats
from visor_jax.report import sentences
from visor_jax.report import tables
from visor_jax.runtime import command
from visor_jax.spec import workdir


def main(argv: Sequence[str] | None = None) -> int:
  """Writes the page; returns the exit code."""
  parser = command.parser('python -m visor_jax.report', __doc__)
  command.add_workdir(
    parser, 'of a run, with results.jsonl in it; again for more', several=True
  )
  parser.add_argument(
    '--out',
    type=command.path,
    metavar='DIR',
    help='where to write; by default in the first workdir',
  )
  args = parser.parse_args(argv)
  return command.run(lambda: _report(args.workdir, args.out))


def _report(workdirs: Sequence[pathlib.Path], out: pathlib.Path | None) -> int:
  first, *more = workdirs
  rows = repeats.joined(first, *more).rows
  path = page.write(first, out or workdir.Workdir(first).report, *more)
  print(tables.summary(rows))
  text = f'{sentences.verdict(rows)} {sentences.rivals(rows)}'
  print('\n' + text.replace('**', ''))
  print(f'\n{path}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
