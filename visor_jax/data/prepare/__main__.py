"""Conversations and image files to ArrayRecord shards, once.

  python -m visor_jax.data.prepare --src train.json --images IMAGES --out SHARDS
  python -m visor_jax.data.prepare --out SHARDS --check

--src is LLaVA's .json or .jsonl, a .yaml mixture, or a folder or pattern of
.parquet or .array_record files. Bad records are left out and counted. A run
that is killed is started again with the same words: shards that are finished
stay. The bytes written depend on the data and --shard-size alone.

Beside each shard lies its outline, the same records without the bytes of their
images: rows are planned from those, by every host, and a host has no time to
read all images of a run for their sizes.
"""

import argparse
import os
import sys

from visor_jax.data.prepare import check
from visor_jax.data.prepare import writer
from visor_jax.data.sources import readers as sources_lib
from visor_jax.runtime import console


def main(argv=None) -> int:
  """Prepares or checks; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog='python -m visor_jax.data.prepare',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--src', help='the data; see above')
  add('--images', help='folder that image paths in it start from')
  add('--out', required=True, help='folder of the shards')
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
    help='of bad records at which to stop; default %(default)s',
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
  if args.shard_size <= 0:
    parser.error(f'--shard-size is {args.shard_size}; expected more than 0')
  try:
    if args.check:
      wrong = check.check(args.out, args.workers)
      for line in wrong:
        print(line, file=sys.stderr)
      console.log(
        f'{args.out}: {len(wrong)} faults'
        if wrong
        else f'{args.out}: every shard is as it was written'
      )
      return 1 if wrong else 0
    source = sources_lib.open_source(args.src, args.images, args.seed)
    found = writer.prepare(
      source, args.out, args.shard_size, args.workers, args.max_bad
    )
  # RuntimeError: ArrayRecord's of a full disk, a pool's of a killed worker.
  except (OSError, ValueError, RuntimeError) as e:
    print('error:', ' '.join(str(e).split()), file=sys.stderr)
    return 1
  console.log(
    f'{found["records"]} records in {len(found["shards"])} shards in '
    f'{args.out}' + (f'; {writer.told(found["bad"])}' if found['bad'] else '')
  )
  return 0


if __name__ == '__main__':
  sys.exit(main())
