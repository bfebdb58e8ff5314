"""What all commands do alike: `--help`, `--workdir`, one line for a mistake."""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import pathlib
import re
import sys
import traceback
from typing import NoReturn

from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import paths
from visor_jax.runtime import retry

REFUSED = 1  # nothing would change by trying again
DIED = 70  # it may go better next time
INTERRUPTED = 130  # by Ctrl-C, as shells have it
USAGE = 2  # the command's words are off; as argparse and shells have it

Errors = tuple[type[BaseException], ...]
MISTAKES: Errors = (OSError, ValueError, errors.Passing)


def parser(
  name: str, doc: str | None, usage: str | None = None
) -> argparse.ArgumentParser:
  """A parser whose help is the command's own docstring.

  Args:
    name: what is typed, as 'python -m visor_jax.ask'.
    doc: the docstring of its module.
    usage: the first line of the help, where argparse's would not do.
  """
  return _Parser(
    prog=name,
    usage=usage,
    description=doc,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )


class _Parser(argparse.ArgumentParser):
  """A parser to which a mistake is one line, as to all that comes after it."""

  def error(self, message: str) -> NoReturn:
    tell(f'{message}; see --help')
    self.exit(USAGE)


def path(text: str) -> pathlib.Path:
  """The type of an argument that names a file or a folder."""
  return _parsed(paths.parse, text)


def local_path(text: str) -> pathlib.Path:
  """The type of an argument that names one on a disk."""
  return _parsed(paths.local, text)


def _parsed(
  parse: Callable[[str, str], pathlib.Path], text: str
) -> pathlib.Path:
  try:
    return parse(text, 'it')
  except errors.Refusal as e:
    raise argparse.ArgumentTypeError(str(e)) from None


def add_workdir(
  to: argparse.ArgumentParser, text: str, *, several: bool = False
) -> None:
  """Adds --workdir, which every command takes alike.

  Args:
    to: the command's parser.
    text: which workdir it is.
    several: it may be given more than once.
  """
  to.add_argument(
    '--workdir',
    required=True,
    type=path,
    metavar='DIR',
    action='append' if several else 'store',
    help=text,
  )


def run(act: Callable[[], int], mistakes: Errors = MISTAKES) -> int:
  """The exit code of a command: its own, or that of a mistake.

  Args:
    act: the command, its arguments read.
    mistakes: what is told in a line; all else is a bug, with its traceback.
  """
  try:
    return act()
  except KeyboardInterrupt:
    return INTERRUPTED
  except Exception as e:
    if not (isinstance(e, mistakes) or retry.of_client(e)):
      raise
    tell(e)
    return DIED if retry.passing(e) else REFUSED


def tell(mistake: BaseException | str) -> None:
  """Prints a mistake as `error: ...`."""
  text = console.printable(str(mistake).strip())
  print(f'error: {text}', file=sys.stderr)


def of_config(error: Exception, argv: Sequence[str]) -> str:
  """One line for what flags raised, or the file that --config names.

  Args:
    error: what it raised; absl puts a traceback into its text.
    argv: the command line.
  """
  given = [a.partition('=')[2] for a in argv if re.match('--?config=', a)]
  path = given[-1].partition(':')[0] if given else ''
  if path and not pathlib.Path(path).exists():
    return f'--config={path}: there is no such file'
  text = str(error)
  if 'Traceback (most recent call last)' in text:
    text = re.split(r'\n(?=\S)', text.strip())[-1]
  elif not isinstance(error, OSError | ValueError):
    text = f'{type(error).__name__}: {text}'
  lines = [
    frame.lineno
    for frame in traceback.extract_tb(error.__traceback__)
    if path and frame.filename.endswith(path)
  ]
  where = f'{path}, line {lines[-1]}: ' if lines else ''
  return where + ' '.join(text.split())


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """A launcher's own arguments, and those behind `--` for what it starts."""
  at = list(argv).index('--') if '--' in argv else len(argv)
  return list(argv[:at]), list(argv[at + 1 :])
