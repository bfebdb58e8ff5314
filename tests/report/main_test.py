"""The command that writes the page."""

import subprocess
import sys

from tests.report import workdirs
from visor_jax.report import __main__ as door


def test_command(tmp_path, capsys):
  workdirs.fill(tmp_path)
  assert door.main([f'--workdir={tmp_path}']) == 0
  printed = capsys.readouterr().out
  assert '| router |' in printed and 'The router keeps 98.6 %' in printed
  assert str(tmp_path / 'report' / 'index.html') in printed
  assert (
    door.main([f'--workdir={tmp_path}', f'--out={tmp_path / "there"}']) == 0
  )
  assert (tmp_path / 'there' / 'index.html').exists()


def test_command_says_what_is_missing(tmp_path, capsys):
  assert door.main([f'--workdir={tmp_path}']) == 1
  printed = capsys.readouterr().err
  assert 'results.jsonl' in printed and 'visor_jax.main' in printed


def test_knows_nothing_of_jax(tmp_path):
  workdirs.fill(tmp_path)
  code = (
    'import sys; from visor_jax.report import __main__ as door; '
    'door.main(sys.argv[1:]); print(sorted({m.split(".")[0] for m in '
    'sys.modules} & {"jax", "jaxlib", "flax", "optax", "tensorflow"}))'
  )
  command = subprocess.run(
    [sys.executable, '-c', code, f'--workdir={tmp_path}'],
    capture_output=True,
    text=True,
    check=True,
  )
  assert command.stdout.splitlines()[-1] == '[]'
