"""Checks benchmarks on a disk, or makes shards of them.

  python -m visor_jax.benchmarks --data BENCHMARKS --benchmarks hard
  python -m visor_jax.benchmarks --data BENCHMARKS --out SHARDS

BENCHMARKS has a folder for each, with the hub's parquet files. Shards are read
in any order without reading more; the prompts in them are made by the rules
that they name.
"""

import argparse
from collections.abc import Sequence
import sys

from visor_jax.benchmarks import questions as questions_lib
from visor_jax.benchmarks import scores
from visor_jax.benchmarks import table
from visor_jax.data.prepare import writer
from visor_jax.runtime import command
from visor_jax.runtime import console


def main(argv: Sequence[str] | None = None) -> int:
  """Prints what there is, question counts first; returns the exit code."""
  parser = command.parser('python -m visor_jax.benchmarks', __doc__)
  add = parser.add_argument
  add(
    '--data',
    type=command.path,
    required=True,
    help='folder with one for each benchmark',
  )
  add(
    '--benchmarks',
    default='all',
    help='easy, hard, all, or names joined by +; default %(default)s',
  )
  add(
    '--out',
    type=command.local_path,
    help='folder for one of shards for each; without, only looks',
  )
  add(
    '--shard-size',
    type=float,
    default=256,
    metavar='MB',
    help='aimed at; default %(default)s',
  )
  args = parser.parse_args(argv)
  # RuntimeError: ArrayRecord's of a full disk.
  return command.run(lambda: _show(args), (*command.MISTAKES, RuntimeError))


def _show(args: argparse.Namespace) -> int:
  """Says what there is of all that are asked for, then writes shards.

  Raises:
    ValueError: one is missing or broken; nothing is written then.
  """
  benchmarks = table.named(args.benchmarks)
  opened, missing = {}, []
  for benchmark in benchmarks:
    try:
      questions = questions_lib.open_questions(
        benchmark, scores.RULES, args.data
      )
      (turn,) = questions[0].turns
    except (FileNotFoundError, ValueError) as e:
      console.log(f'{benchmark.name}: {e}')
      missing.append(benchmark.name)
      continue
    opened[benchmark.name] = questions
    console.log(
      f'{benchmark.name}: {len(questions)} of {benchmark.size} questions of '
      f'{benchmark.hub}, {benchmark.group}; the first: '
      f'{turn.question!r}, right is {turn.answer}'
    )
  if missing:
    raise ValueError(
      f'{args.data}: {len(missing)} of {len(benchmarks)} benchmarks are '
      f'missing or broken: {", ".join(missing)}'
    )
  if args.out:
    for name, questions in opened.items():
      writer.prepare(questions, args.out / name, args.shard_size, max_bad=0)
  return 0


if __name__ == '__main__':
  sys.exit(main())
