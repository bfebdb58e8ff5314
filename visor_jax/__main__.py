"""All commands of visor_jax behind one name.

visor-jax                    lists them, as python -m visor_jax does
visor-jax COMMAND ...        is python -m visor_jax.COMMAND ...
visor-jax where              prints the folder of experiments/ and launch/
"""

import ast
from collections.abc import Sequence
import pathlib
import runpy
import sys

COMMANDS = (
  'main',
  'ask',
  'serve',
  'report',
  'analysis',
  'convert',
  'checkpoint',
  'data.prepare',
  'data.tfds_builder',
  'benchmarks',
  'flops',
  'preflight',
)
PACKAGE = pathlib.Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command, or lists all.

  Args:
    argv: the command's name and its arguments; None for those of the process.

  Returns:
    The exit code. A command that ends by itself raises SystemExit with its own.
  """
  argv = sys.argv[1:] if argv is None else argv
  name = argv[0] if argv else '--help'
  if name in ('-h', '--help'):
    print(_listing())
  elif name == 'where':
    print(where())
  elif name in COMMANDS:
    sys.argv = [name, *argv[1:]]
    runpy.run_module(f'visor_jax.{name}', run_name='__main__', alter_sys=True)
  else:
    print(
      f'visor-jax: there is no command "{name}"; there are '
      f'{", ".join(COMMANDS)} and where',
      file=sys.stderr,
    )
    return 2
  return 0


def where() -> pathlib.Path:
  """The folder that holds experiments/ and launch/.

  A wheel carries them in visor_jax/share; in a clone they lie beside the
  package.
  """
  share = PACKAGE / 'share'
  return share if share.exists() else PACKAGE.parent


def summary(command: str) -> str:
  """The first line of a command's docstring, read without importing it."""
  path = PACKAGE.joinpath(*command.split('.'))
  path = path / '__main__.py' if path.is_dir() else path.with_suffix('.py')
  text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
  return text.partition('\n')[0]


def _listing() -> str:
  lines = {name: summary(name) for name in COMMANDS}
  lines['where'] = 'Prints the folder of experiments/ and launch/.'
  width = max(map(len, lines))
  return '\n'.join(
    [
      'visor-jax COMMAND ... is python -m visor_jax.COMMAND ...',
      'Each command explains itself: visor-jax COMMAND --help',
      '',
      *(f'  {name:{width}}  {line}' for name, line in lines.items()),
    ]
  )


if __name__ == '__main__':
  sys.exit(main())
