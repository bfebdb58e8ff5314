"""What lies beside checkpoints, or in them, is passed over and named."""

import os
import pathlib
import shutil

import pytest

from tests.checkpoint import stages
from visor_jax.checkpoint import __main__
from visor_jax.checkpoint import manifest
from visor_jax.checkpoint import steps
from visor_jax.runtime import console
from visor_jax.runtime import errors


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  path = tmp_path_factory.mktemp('run') / 'base' / 'checkpoints'
  stages.write(path, 4, 8)
  return path


@pytest.fixture
def stage(written, tmp_path):
  """Checkpoints 4 and 8 of a stage, a copy to harm."""
  path = tmp_path / 'run' / 'base' / 'checkpoints'
  shutil.copytree(written, path)
  return path


def verify(folder):
  return __main__.main(['verify', f'--workdir={folder.parents[1]}'])


def folder(path):
  path.mkdir()
  (path / 'file').write_text('somebody needs it')


def link_to_nothing(path):
  path.symlink_to(path.parent / 'nothing')


def link_to_itself(path):
  path.symlink_to(path)


ODD = [
  ('.nfs0001', pathlib.Path.touch),
  ('.snapshot', folder),
  ('²', folder),
  ('٣', folder),
  ('１６', folder),
  ('007', folder),
  ('-1', folder),
  ('16 ', folder),
  ('8.backup', folder),
  ('lost+found', folder),
  ('16', pathlib.Path.touch),
  ('16', os.mkfifo),
  ('16', link_to_nothing),
  ('16', link_to_itself),
  ('notes.txt', pathlib.Path.touch),
  ('\udcff', pathlib.Path.touch),
]


@pytest.mark.parametrize('name,make', ODD)
def test_what_is_no_step_is_left_alone(name, make, stage, capsys):
  odd = stage / name
  make(odd)
  assert steps.steps(stage) == [4, 8] and steps.others(stage) == [odd]
  assert stages.resume(stage) == 8
  assert console.printable(f'passed over, {odd}') in capsys.readouterr().out
  assert verify(stage) == 0
  printed = capsys.readouterr().out
  assert 'passed over, no checkpoint' in printed and '2 of 2' in printed
  stages.write(stage, 12)
  assert os.path.lexists(odd) and steps.steps(stage) == [8, 12]


@pytest.mark.parametrize('make', [pathlib.Path.touch, link_to_nothing])
def test_what_lies_where_a_step_shall_be_is_named(make, stage):
  make(stage / '12')
  with pytest.raises(errors.Refusal, match=f'{stage}/12 .* is no folder'):
    stages.write(stage, 12)
  assert stages.resume(stage) == 8


def test_a_step_may_lie_elsewhere(stage, tmp_path):
  """Moved to a larger disk, with a link in its place."""
  there = tmp_path / 'large'
  (stage / '8').rename(there)
  (stage / '8').symlink_to(there)
  assert stages.resume(stage) == 8
  stages.write(stage, 12, keep=1)
  assert steps.steps(stage) == [12]
  assert not manifest.faults(there)  # what lies there is not ours to delete


@pytest.mark.parametrize('place', ['', 'params', 'opt'])
def test_what_a_server_of_files_leaves_in_a_checkpoint_is_named(
  place, stage, capsys
):
  """NFS keeps a file that is deleted while it is open, under such a name."""
  (stage / '8' / place / '.nfs000000000abcdef000001').write_text('x')
  assert stages.resume(stage) == 8
  assert '.nfs000000000abcdef000001' in capsys.readouterr().out
  assert verify(stage) == 0
  printed = capsys.readouterr().out
  assert '.nfs000000000abcdef000001: passed over' in printed


@pytest.mark.parametrize('make', [folder, os.mkfifo, link_to_itself])
@pytest.mark.parametrize('file', ['process_0.sha256', 'params/_METADATA'])
def test_what_is_no_file_makes_a_checkpoint_bad(make, file, stage, capsys):
  """And is never waited for."""
  (stage / '8' / file).unlink()
  make(stage / '8' / file)
  assert stages.resume(stage) == 4
  printed = capsys.readouterr().out
  assert f'{stage}/8 is not good' in printed and file in printed
  assert verify(stage) == 1
  assert file in capsys.readouterr().out


def test_what_may_not_be_read_makes_a_checkpoint_bad(
  stage, capsys, monkeypatch
):
  def refuse(path, *args, **options):
    if str(path).startswith(str(stage / '8/params')):
      raise PermissionError(13, 'Permission denied')
    return open(path, *args, **options)

  monkeypatch.setattr(pathlib.Path, 'open', refuse)
  assert stages.resume(stage) == 4
  assert 'cannot be read: Permission denied' in capsys.readouterr().out
  assert verify(stage) == 1


def test_a_folder_that_may_not_be_read_is_refused(stage, monkeypatch, capsys):
  """To start afresh would overwrite what is in it."""

  def refuse(path):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(pathlib.Path, 'iterdir', refuse)
  with pytest.raises(errors.Refusal, match=f'{stage} cannot be read'):
    stages.resume(stage)
  assert verify(stage) == 1
  assert 'Permission denied' in capsys.readouterr().err


def test_what_cannot_be_deleted_is_said_and_kept(stage, monkeypatch, capsys):
  """A save is good all the same; the next one tries again."""

  def busy(path):
    raise OSError(39, 'Directory not empty')

  with monkeypatch.context() as m:
    m.setattr(shutil, 'rmtree', busy)
    stages.write(stage, 12)
  assert 'could not be deleted: Directory not empty' in capsys.readouterr().out
  assert steps.steps(stage) == [8, 12] and (stage / '4.deleted').exists()
  stages.write(stage, 16)
  assert sorted(path.name for path in stage.iterdir()) == ['12', '16']
