"""The command: in, out, and what it says of a mistake."""

import json

import pytest

from tests.convert import checkpoints
from visor_jax.convert import __main__ as door
from visor_jax.convert import safetensors


def run(*args, capsys):
  code = door.main([*map(str, args)])
  printed = capsys.readouterr()
  return code, printed.out, printed.err


def test_the_command(tmp_path, checkpoint, capsys):
  """In and out; an error is one line and exit code 1."""
  do = lambda *args: run(*args, capsys=capsys)
  there, out, new = (tmp_path / name for name in 'abc')
  code, printed, _ = do('import', '--src', checkpoint[0], '--out', there)
  assert code == 0 and f'wrote {there}' in printed
  assert do('export', '--src', there, '--out', out)[0] == 0
  assert checkpoints.tensors_of(out) == checkpoints.tensors_of(checkpoint[0])
  (tmp_path / 'empty').mkdir()
  cut = checkpoints.copy(checkpoint, tmp_path / 'cut')
  file = cut / safetensors.SINGLE
  file.write_bytes(file.read_bytes()[:-10])
  other = checkpoints.copy(checkpoint, tmp_path / 'other')
  config = json.loads((other / 'config.json').read_text())
  (other / 'config.json').write_text(
    json.dumps(config | dict(model_type='llava_next'))
  )
  for why, *args in (
    ('is there already', 'import', checkpoint[0], out),
    ('is cut off: 10 of', 'import', cut, new),
    ("model_type 'llava_next'", 'import', other, new),
    ('neither a folder nor a name', 'import', tmp_path / 'no', new),
    ('config.json is missing', 'export', tmp_path / 'empty', new),
  ):
    code, _, printed = do(args[0], '--src', args[1], '--out', args[2])
    assert code == 1 and why in printed and printed.count('\n') == 1, printed
    assert printed.startswith('error: ')
  with pytest.raises(SystemExit):
    do('--help')
