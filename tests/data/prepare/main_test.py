"""The command and its flags."""

import pytest

from tests.data.prepare import command
from visor_jax.data.prepare import __main__


@pytest.fixture
def folder(tmp_path):
  return command.images(tmp_path)


def test_wrong_words_are_told(folder, capsys):
  command.write(folder, command.rows(3))
  assert command.run(folder, src=folder / 'gone.json') == 1
  assert 'gone.json: no such file' in capsys.readouterr().err
  for wrong in (['--out', 'x'], command.flags(folder, shard_size=0)):
    with pytest.raises(SystemExit, match='2'):
      __main__.main(wrong)
  with pytest.raises(SystemExit, match='0'):
    __main__.main(['--help'])
  usage = capsys.readouterr().out
  for word in ('--src', '--images', '--shard-size MB', '--max-bad', '--check'):
    assert word in usage
