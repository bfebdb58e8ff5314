"""Conversations and image files to ArrayRecord shards, once.

  python -m visor_jax.data.prepare --src train.json --images IMAGES --out SHARDS
  python -m visor_jax.data.prepare --out SHARDS --check

--src is a .json or .jsonl of conversations as LLaVA or OpenAI write them, a
.yaml mixture, or a folder or pattern of .parquet or .array_record files. Bad
records are left out and counted. A run that is killed is started again with the
same flags: shards that are finished stay. The bytes written depend on the data
and --shard-size alone.

Beside each shard lies its outline, the same records without the bytes of their
images: rows are planned from those, by every host, and a host has no time to
read all images of a run for their sizes.
"""

import argparse
from collections.abc import Sequence
import os
import sys

from visor_jax.data.prepare import bad_records
from visor_jax.data.prepare import check
from visor_jax.data.prepare import writer
from visor_jax.data.sources import readers
from visor_jax.runtime import command
from visor_jax.runtime import console


def main(argv: Sequence[str] | None = None) -> int:
  """Prepares or checks; returns the exit code."""
  parser = command.parser('python -m visor_jax.data.prepare', __doc__)
  add = parser.add_argument
  add('--src', type=command.path, help='the data; see above')
  add(
    '--images',
    type=command.path,
    help='folder that image paths in it start from',
  )
  add(
    '--follow-outside',
    action='store_true',
    help='image paths and links may lead out of --images',
  )
  add(
    '--out', type=command.local_path, required=True, help='folder of the shards'
  )
  add(
    '--shard-size',
    type=float,
    default=256,
    metavar='MB',
    help='aimed at; a shard is also what a kill costs each worker; default '
    '%(default)s',
  )
  add(
    '--workers',
    type=int,
    default=os.cpu_count(),
    help='processes; default %(default)s, one for each core',
  )
  add(
    '--max-bad',
    type=float,
    default=0.01,
    metavar='SHARE',
    help='of bad records; clearly more stop the run; default %(default)s',
  )
  add(
    '--seed',
    type=int,
    default=0,
    help="of a mixture's random choices; default %(default)s",
  )
  add(
    '--check',
    action='store_true',
    help='verify what is in --out instead: every file has the bytes that '
    'were written, every record is one and has its outline, every '
    'image decodes',
  )
  args = parser.parse_args(argv)
  if not args.check and args.src is None:
    parser.error('--src is missing')
  if not 0 <= args.max_bad <= 1:
    parser.error(f'--max-bad is {args.max_bad}; expected 0 to 1')
  if args.shard_size <= 0:
    parser.error(f'--shard-size is {args.shard_size}; expected more than 0')
  act = _check if args.check else _prepare
  # RuntimeError: ArrayRecord's of a full disk, a pool's of a killed worker.
  return command.run(lambda: act(args), (*command.MISTAKES, RuntimeError))


def _check(args: argparse.Namespace) -> int:
  faults = check.check(args.out, args.workers)
  for fault in faults:
    print(fault, file=sys.stderr)
  console.log(
    f'{args.out}: {len(faults)} faults'
    if faults
    else f'{args.out}: every shard is as it was written'
  )
  return 1 if faults else 0


def _prepare(args: argparse.Namespace) -> int:
  source = readers.open_source(
    args.src, args.images, args.seed, args.follow_outside
  )
  index = writer.prepare(
    source, args.out, args.shard_size, args.workers, args.max_bad
  )
  bad = f'; {bad_records.describe(index["bad"])}' if index['bad'] else ''
  console.log(
    f'{index["records"]} records in {len(index["shards"])} shards in '
    f'{args.out}{bad}'
  )
  return 0


if __name__ == '__main__':
  sys.exit(main())
