"""Answers over HTTP, as OpenAI's chat completions.

  python -m visor_jax.serve --checkpoint CKPT --port 8000

/v1/chat/completions and /v1/models are OpenAI's; a request may also have
`plan`, `budget` or `drop`, and a reply says in `visor` which plan ran and what
it saved. / is a page to try it, /health and /metrics are for those who watch.

Needs `pip install 'visor_jax[serve]'`. Nobody is asked who they are: to serve
others than this machine, put a gateway that does in front of it.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import pathlib
import signal
import socket
import sys
from typing import Any

from starlette.middleware import trustedhost
import uvicorn

from visor_jax import inference
from visor_jax.eval import costs
from visor_jax.runtime import command
from visor_jax.runtime import compilation_cache
from visor_jax.runtime import console
from visor_jax.serve import app as app_lib
from visor_jax.serve import connections
from visor_jax.serve import engine as engine_lib
from visor_jax.serve import limits as limits_lib
from visor_jax.serve import meters as meters_lib
from visor_jax.spec import shares

LOCAL = ['127.0.0.1', 'localhost']


def _parser() -> argparse.ArgumentParser:
  parser = command.parser('python -m visor_jax.serve', __doc__)
  add = parser.add_argument
  add(
    '--checkpoint',
    required=True,
    type=command.path,
    metavar='FOLDER',
    help='an imported checkpoint, a workdir, or a folder that transformers can '
    'read',
  )
  add('--host', default='127.0.0.1', help='default: %(default)s, this machine')
  add('--port', type=int, default=8000, help='default: %(default)s; 0 for any')
  add('--name', help='of the model; default: that of the folder')
  add(
    '--plan', help='where a request says none; default: the router, if trained'
  )
  add('--budget', type=float, metavar='SHARE', help='instead of a plan')
  add(
    '--budget-of',
    choices=tuple(shares.WORDS),
    help='what it is a share of; default: prefill',
  )
  add('--drop', type=float, metavar='SHARE', help='instead of a plan')
  add('--dtype', choices=('float32', 'bfloat16'), help='computed in')
  for field in dataclasses.fields(limits_lib.Limits):
    add(
      f'--{field.name.replace("_", "-")}',
      type=type(field.default),
      default=field.default,
      metavar='N',
      help=f'default: {field.default}; see visor_jax/serve/limits.py',
    )
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Serves until SIGTERM or Ctrl-C; returns the exit code."""
  args = _parser().parse_args(argv)
  return command.run(lambda: _serve(args))


def _serve(args: argparse.Namespace) -> int:
  # Also what uvicorn raises again when it has stopped.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
  limits = limits_lib.Limits(
    **{
      field.name: getattr(args, field.name)
      for field in dataclasses.fields(limits_lib.Limits)
    }
  )
  if [args.plan, args.budget, args.drop].count(None) < 2:
    raise ValueError('give --plan or --budget or --drop, one of them')
  compilation_cache.use_beside(args.checkpoint)
  model = inference.load(args.checkpoint, dtype=args.dtype)
  given = dict(
    plan=args.plan,
    budget=args.budget,
    budget_of=args.budget_of,
    drop=args.drop,
  )
  defaults: Any = {k: v for k, v in given.items() if v is not None}
  if defaults:
    # Refused now, if ever.
    model.asked.choice.select(defaults, costs.PromptSize(1, 1, ()))
  meters = meters_lib.Meters()
  name = args.name or pathlib.Path(str(args.checkpoint)).name
  server = app_lib.Server(
    name, engine_lib.Engine(model, limits, meters), limits, meters, defaults
  )
  family = socket.AF_INET6 if ':' in args.host else socket.AF_INET
  with socket.create_server((args.host, args.port), family=family) as listener:
    host, port = listener.getsockname()[:2]
    console.log(f'serving {name} at http://{host}:{port}')
    local = args.host in LOCAL  # then a foreign page's name may not mean us
    app = trustedhost.TrustedHostMiddleware(
      server.app(), LOCAL if local else ['*']
    )
    config = uvicorn.Config(
      app,
      http=connections.protocol(limits),
      log_level='warning',
      timeout_graceful_shutdown=int(limits.answer_seconds),
    )
    uvicorn.Server(config).run(sockets=[listener])
  return 0


if __name__ == '__main__':
  sys.exit(main())
