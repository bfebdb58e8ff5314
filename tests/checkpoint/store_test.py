"""What is on disk is what was written, or it is passed over."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests.checkpoint import stages
from visor_jax.checkpoint import __main__
from visor_jax.checkpoint import manifest
from visor_jax.checkpoint import saving
from visor_jax.checkpoint import store
from visor_jax.runtime import preempt


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A workdir with one stage."""
  path = tmp_path_factory.mktemp('run')
  stages.write(path / 'base' / 'checkpoints', 2, 4, 8)
  return path


@pytest.fixture
def stage(workdir, tmp_path):
  """Its checkpoints, a copy to harm."""
  return pathlib.Path(shutil.copytree(workdir, tmp_path / 'run')) / (
    'base/checkpoints'
  )


def files(path):
  return sorted(p for p in path.rglob('*') if p.is_file())


def flip(path, at=None):
  data = bytearray(path.read_bytes())
  data[len(data) // 2 if at is None else at] ^= 1
  path.write_bytes(data)


def test_what_comes_back_is_what_was_saved(stage):
  assert [p.name for p in sorted(stage.iterdir())] == ['4', '8']
  assert stages.resume(stage) == 8
  params, opt = stages.restored(stage, 8)
  jax.tree.map(
    np.testing.assert_array_equal,
    (params, opt),
    (jax.tree.map(lambda x: x + 8, stages.PARAMS), stages.OPT),
  )


def cut(path):
  path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize('harm', [flip, cut, pathlib.Path.unlink])
def test_harm_to_any_file_of_the_newest_is_seen(harm, stage, capsys):
  """The older one is used, and the file is named."""
  for file in files(stage / '8'):
    data = file.read_bytes()
    harm(file)
    assert stages.resume(stage) == 4, file
    printed = capsys.readouterr().out
    assert str(stage / '8') in printed
    assert str(file.relative_to(stage / '8')) in printed
    file.write_bytes(data)
  assert stages.resume(stage) == 8 and not capsys.readouterr().out


def test_what_is_bad_is_not_restored(stage):
  """Orbax itself would bring a flipped byte back as a wrong weight."""
  flip(max(files(stage / '8/params'), key=lambda p: p.stat().st_size))
  with pytest.raises(ValueError, match=f'{stage}/8 is not good:\n  params/'):
    stages.restored(stage, 8)


def test_no_byte_of_a_manifest_can_change_unseen(stage):
  """Who wants to hide a bad file would have to change two hashes."""
  path = stage / '8' / manifest.name(0)
  size = path.stat().st_size
  for at in {*range(0, size, 29), *range(size - 5, size)}:
    flip(path, at)
    assert manifest.faults(stage / '8') == [
      f'{path.name}: its bytes are not those that were written'
    ], at
    flip(path, at)


def test_sha256sum_says_the_same(stage):
  """A checkpoint can be checked where there is no visor_jax."""

  def check():
    return subprocess.run(
      ['sha256sum', '--check', '--quiet', manifest.name(0)],
      cwd=stage / '8',
      capture_output=True,
      text=True,
    )

  assert check().returncode == 0 and not check().stderr
  flip(stage / '8/params/_METADATA')
  assert 'params/_METADATA: FAILED' in check().stdout


def test_a_file_that_nobody_wrote_is_seen(stage):
  (stage / '8/params/d/more').write_text('x')
  assert manifest.faults(stage / '8') == ['params/d/more: is not listed']


def test_killed_before_the_hashes_a_checkpoint_does_not_count(
  stage, capsys, monkeypatch
):
  """Orbax has finished it by then; the older ones must still be there."""
  with monkeypatch.context() as m:
    m.setattr(
      saving.Saver,
      '_seal',
      lambda self, step: self._writer.wait_until_finished(),
    )
    stages.write(stage, 12, keep=1)
  assert stages.resume(stage) == 8
  assert f'{stage}/12 is not good:\n  unfinished' in capsys.readouterr().out
  assert (
    stages.write(stage, 12, keep=1) == [stage / '12']
    and stages.resume(stage) == 12
  )


def test_every_process_answers_for_what_it_wrote(stage):
  """The others must neither wait for it nor read its files."""
  path = stage / '8'
  (path / 'params/array_metadatas/process_1').write_text('theirs')
  (path / 'process_1.sha256.part').write_text('being written')
  (path / manifest.name(0)).write_text(manifest.text(path, 0, 2))
  assert not manifest.finished(path) and manifest.faults(path) == [
    'unfinished: there is no process_1.sha256'
  ]
  (path / 'process_1.sha256.part').unlink()
  theirs = manifest.text(path, 1, 2)
  (path / manifest.name(1)).write_text(theirs)
  assert len(theirs.splitlines()) == 3
  assert 'array_metadatas/process_1\n' in theirs
  assert manifest.finished(path) and not manifest.faults(path)
  flip(path / 'params/array_metadatas/process_1')
  shares = [manifest.faults(path, share, 2) for share in (0, 1)]
  assert sorted(map(len, shares)) == [0, 1]


def test_killed_in_its_first_save_a_run_starts_afresh(stage, capsys):
  shutil.rmtree(stage / '4')
  (stage / '8' / manifest.name(0)).unlink()
  assert stages.resume(stage) == 0 and 'unfinished' in capsys.readouterr().out


@pytest.mark.parametrize(
  'first,second',
  [
    ('params/_METADATA', 'params/_METADATA'),
    (manifest.name(0),) * 2,
    (manifest.name(0), 'opt/_METADATA'),
    (None, 'opt/_METADATA'),
  ],
)
def test_bad_ones_alone_are_not_forgotten(stage, first, second):
  """To start afresh would throw a run away and say nothing."""
  if first:
    (stage / '4' / first).unlink()
  else:
    shutil.rmtree(stage / '4')
  (stage / '8' / second).unlink()
  with pytest.raises(ValueError, match=f'no checkpoint in {stage} is good'):
    stages.resume(stage)


def test_what_was_passed_over_is_replaced(stage):
  """And a newer one that was bad is not kept in place of a good one."""
  flip(stage / '8/opt/_METADATA')
  assert [p.name for p in stages.write(stage, 6)] == ['4', '6']
  assert [p.name for p in stages.write(stage, 8)] == ['6', '8']
  assert stages.resume(stage) == 8


def test_what_kills_leave_goes_with_the_next_save(stage):
  (stage / '4.deleted').mkdir()
  shutil.copytree(stage / '8', stage / '6.orbax-checkpoint-tmp')
  assert [p.name for p in stages.write(stage, 12)] == ['8', '12']


def test_parameters_alone(tmp_path):
  """As a converted checkpoint has them."""
  with store.Checkpoints(tmp_path / 'checkpoints') as saved:
    saved.save(0, stages.PARAMS)
    saved.wait()
    params, opt = saved.restore(0, stages.like(stages.PARAMS))
  assert opt is None
  jax.tree.map(np.testing.assert_array_equal, params, stages.PARAMS)
  assert __main__.main(['verify', f'--workdir={tmp_path}']) == 0


@pytest.mark.parametrize(
  'what', ['', 'base', 'base/checkpoints', 'base/checkpoints/8']
)
def test_the_command_checks_all_that_lies_beneath(what, stage, capsys):
  command = ['verify', f'--checkpoint={stage.parents[1] / what}']
  assert __main__.main(command) == 0
  assert f'{stage}/8: good' in capsys.readouterr().out
  flip(stage / '8/params/_METADATA')
  assert __main__.main(command) == 1
  printed = capsys.readouterr().out
  assert 'params/_METADATA' in printed and (
    (f'{stage}/4: good' in printed) == (what != 'base/checkpoints/8')
  )
  shutil.rmtree(stage / '8')
  shutil.rmtree(stage / '4')
  assert __main__.main(command) == 1  # nothing is not good
  assert 'no checkpoint' in capsys.readouterr().out


def test_the_command_says_what_it_does(capsys):
  for asked in (['--help'], ['verify', '--help']):
    with pytest.raises(SystemExit) as e:
      __main__.main(asked)
    assert e.value.code == 0
  assert 'Exits with 0' in capsys.readouterr().out
  with pytest.raises(SystemExit) as e:
    __main__.main([])
  assert e.value.code == 2


def test_two_processes_save_as_one(tmp_path):
  """What only real processes can show; see two_checkpoints.py.

  Harm to what one wrote is known to both, and so is a signal to one.
  """
  script = pathlib.Path(__file__).with_name('two_checkpoints.py')
  folder = tmp_path / 'checkpoints'
  with socket.create_server(('127.0.0.1', 0)) as free:
    address = f'127.0.0.1:{free.getsockname()[1]}'
  running = [
    subprocess.Popen(
      [sys.executable, script, folder],
      text=True,
      stdout=subprocess.PIPE,
      env=os.environ
      | dict(
        JAX_COORDINATOR_ADDRESS=address,
        JAX_PLATFORMS='cpu',
        JAX_NUM_CPU_DEVICES='2',
        JAX_NUM_PROCESSES='2',
        JAX_PROCESS_ID=str(index),
      ),
    )
    for index in range(2)
  ]
  while not all((tmp_path / f'ready{i}').exists() for i in range(2)):
    assert all(process.poll() is None for process in running)
    time.sleep(0.1)
  running[1].terminate()
  out = [process.communicate(timeout=120)[0] for process in running]
  assert [process.returncode for process in running] == [preempt.EXIT_CODE] * 2
  first, second = (json.loads(text.splitlines()[-1]) for text in out)
  assert first == second and first['last'] > 4
  assert first['same'] and first['resumed'] == [4, 2, 2]
  # What was not finished is not kept, and the new one has both manifests.
  assert {p.name for p in folder.iterdir()} == {'2', str(first['last'])}
  assert __main__.main(['verify', f'--checkpoint={folder}']) == 0
