"""One name for all commands: `visor-jax`, which is `python -m visor_jax`."""

from importlib import metadata
import pathlib
import subprocess
import sys

import pytest

import visor_jax
from visor_jax import __main__ as commands

ROOT = pathlib.Path(__file__).parents[1]


def test_without_arguments_every_command_stands_on_a_line(capsys):
  assert commands.main([]) == 0
  lines = capsys.readouterr().out.splitlines()
  for name in (*commands.COMMANDS, 'where'):
    (line,) = (line for line in lines if line.split()[:1] == [name])
    assert line.endswith('.') and len(line) <= 80, line


def test_listing_commands_imports_no_jax():
  code = (
    'import sys; from visor_jax import __main__ as m; m.main([]); '
    'sys.exit("jax" in sys.modules)'
  )
  subprocess.run(
    [sys.executable, '-c', code],
    check=True,
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
  )


def test_every_module_that_runs_by_itself_is_a_command():
  package = ROOT / 'visor_jax'
  runnable = {
    '.'.join(path.relative_to(package).with_suffix('').parts).removesuffix(
      '.__main__'
    )
    for path in package.rglob('*.py')
    if "\nif __name__ == '__main__':" in path.read_text()
  }
  assert runnable - {'__main__'} == set(commands.COMMANDS)


def test_an_unknown_command_is_one_line_that_names_what_there_is(capsys):
  assert commands.main(['train', '--config=x']) == 2
  out, err = capsys.readouterr()
  assert not out and err.count('\n') == 1 and '"train"' in err
  assert all(name in err for name in commands.COMMANDS)


@pytest.mark.parametrize(
  'name,arguments',
  [
    ('flops', ['--size=0.5b', '--image=640x480', '--text=60', '--json']),
    ('flops', ['--size=none']),
    ('data.prepare', ['--check']),
  ],
)
def test_a_command_is_the_module_of_its_name(name, arguments):
  one, other = (
    subprocess.run(
      [sys.executable, '-m', *command, *arguments],
      cwd=ROOT,
      capture_output=True,
      text=True,
    )
    for command in (['visor_jax', name], [f'visor_jax.{name}'])
  )
  assert one.returncode == other.returncode
  assert (one.stdout, one.stderr) == (other.stdout, other.stderr)
  assert one.stdout or one.stderr


@pytest.mark.parametrize('name', ['inference', 'config', 'training.loop'])
def test_a_module_that_is_no_command_does_not_pretend_to_run(name):
  """It would say nothing, do nothing and end well."""
  done = subprocess.run(
    [sys.executable, '-m', f'visor_jax.{name}', '--checkpoint=x'],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2 and not done.stdout
  assert f'no command "{name}"' in done.stderr and 'main, ask' in done.stderr


def test_where_holds_experiments_and_launchers(capsys):
  assert commands.main(['where']) == 0
  folder = pathlib.Path(capsys.readouterr().out.strip())
  assert (folder / 'experiments' / 'quickstart.py').exists()
  assert (folder / 'launch' / 'local.py').exists()


def test_the_version_is_that_of_the_installed_package():
  assert visor_jax.__version__ == metadata.version('visor_jax')
