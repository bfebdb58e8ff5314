"""A page of what runs reached: tables, costs, plots.

  python -m visor_jax.report WORKDIR ...

Needs WORKDIR/results.jsonl; shows the search, the calibration of the router
and the losses of the stages as well where WORKDIR has them. Prints the
summary and writes OUT/index.html, one file that opens without a network.
Several workdirs give one page of all their results, and what else there is of
the first.
"""

import argparse
from collections.abc import Sequence
import pathlib
import sys

from visor_jax.report import page
from visor_jax.report import read
from visor_jax.report import sentences
from visor_jax.report import tables
from visor_jax.spec import workdir


def main(argv: Sequence[str] | None = None) -> int:
  """Writes the page; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog='python -m visor_jax.report',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    'workdirs',
    type=pathlib.Path,
    metavar='WORKDIR',
    nargs='+',
    help='the folder of a run, with results.jsonl in it',
  )
  parser.add_argument(
    '--out',
    type=pathlib.Path,
    metavar='DIR',
    help='where to write; by default in the first WORKDIR',
  )
  args = parser.parse_args(argv)
  try:
    first, *more = args.workdirs
    rows = read.joined(first, *more).rows
    out = args.out or workdir.Workdir(first).report
    path = page.write(first, out, *more)
  except (OSError, ValueError) as e:
    print(f'error: {e}', file=sys.stderr)
    return 1
  print(tables.summary(rows))
  text = f'{sentences.verdict(rows)} {sentences.rivals(rows)}'
  print('\n' + text.replace('**', ''))
  print(f'\n{path}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
