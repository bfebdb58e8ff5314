"""A refusal ends with 1, whatever may go better next time with 70."""

import errno
import pathlib
import socket
import sys

import jax
import pytest

from tests import buckets
from visor_jax import main
from visor_jax.runtime import claim
from visor_jax.runtime import command
from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.runtime import retry
from visor_jax.runtime import roll_call

TINY = pathlib.Path(__file__).with_name('tiny.py')


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
  """Runs visor_jax.main here; returns its code and what it printed."""
  monkeypatch.setattr(retry.time, 'sleep', lambda seconds: None)
  # These would outlive the test.
  monkeypatch.setattr(main.faulthandler, 'enable', lambda: None)
  monkeypatch.setattr(main.compilation_cache, 'use', lambda folder: None)

  def start(*arguments, config=TINY):
    sys.modules.pop('config_config', None)  # of the last test
    workdir = f'--workdir={tmp_path / "run"}'
    code = main.main([f'--config={config}', workdir, *arguments])
    return code, capsys.readouterr().err

  return start


@pytest.mark.parametrize(
  'error,code',
  [
    (errors.Refusal('no such key'), 1),
    (errors.Passing('the port is in use'), 70),
    (TimeoutError('process 1 on b did not come'), 70),
    (OSError(errno.ENOSPC, 'No space left on device'), 70),
    (OSError(errno.EDQUOT, 'Disk quota exceeded'), 70),
    (OSError(errno.EIO, 'Input/output error'), 70),
    (OSError(errno.ESTALE, 'Stale file handle'), 70),
    (FileNotFoundError(errno.ENOENT, 'No such file'), 70),
    (PermissionError(errno.EACCES, 'Permission denied'), 70),
    (ConnectionResetError(errno.ECONNRESET, 'Connection reset'), 70),
    (ValueError('INVALID_ARGUMENT: of some library'), 70),
    (RuntimeError('of some library'), 70),
    (MemoryError(), 70),
    (jax.errors.JaxRuntimeError('UNAVAILABLE: a peer is gone'), 70),
  ],
)
def test_only_a_refusal_of_its_own_ends_with_1(run, error, code, monkeypatch):
  def fail(config, path):
    raise error

  monkeypatch.setattr(main.table, 'run_jobs', fail)
  ended, printed = run()
  assert ended == code and str(error) in printed
  explained = isinstance(error, errors.Refusal | errors.Passing | TimeoutError)
  assert ('Traceback' in printed) != explained


@pytest.mark.parametrize(
  'arguments,words',
  [
    (['--config.seed=-1'], 'seed'),
    (['--config.base.stepps=3'], 'stepps'),
    (['--config.jobs=ful'], 'ful'),
    (['--config.mesh.fsdp=7'], 'mesh'),
    (['--config.eval.checkpoint=/none'], 'eval.checkpoint is /none'),
    (['--config.model.init_from=hdfs://a/b'], 'model.init_from is hdfs://a/b'),
    (['--config.eval.checkpoint=hdfs://a/b'], 'eval.checkpoint is hdfs://a/b'),
    (['--config.eval.data=hdfs://a/b'], 'eval.data is hdfs://a/b'),
    (
      ['--config.data.sources=(("x", "hdfs://a/b", 1.0),)'],
      'data.sources "x" is hdfs://a/b',
    ),
    (
      ['--config.eval.sources=(("x", "hdfs://a/b", 1.0),)'],
      'eval.sources "x" is hdfs://a/b',
    ),
    (['--workdir=hdfs://a/b'], '--workdir is hdfs://a/b'),
    (['--wrokdir=x'], 'wrokdir'),
    (['--processes=0'], 'JAX_NUM_PROCESSES'),
    (['--processes=-2', '--process=0', '--coordinator=a:1'], '--processes'),
    (['--processes=2', '--process=2', '--coordinator=a:1'], '--process'),
    (['--processes=2', '--process=-1', '--coordinator=a:1'], '--process'),
    (['--processes=2', '--process=x', '--coordinator=a:1'], 'process'),
    (['--processes=2', '--process=0', '--coordinator=a'], '--coordinator'),
    (['--processes=2', '--process=0', '--coordinator=:1'], '--coordinator'),
    (['--processes=2', '--process=0', '--coordinator=a:0'], '--coordinator'),
    (['--processes=2', '--process=0', '--coordinator=a:99999'], '65535'),
    (['--processes=2', '--process=0', '--coordinator=a:٣'], '--coordinator'),
    (['--processes=2'], 'JAX_COORDINATOR_ADDRESS'),
    (['--patience=0'], '--patience'),
    (['--checkpoint=a', '--config.eval.checkpoint=b'], 'one of them'),
  ],
)
def test_what_is_asked_wrongly_is_a_line_and_leaves_nothing(
  run, arguments, words, tmp_path
):
  code, printed = run(*arguments)
  assert code in (1, 2) and words in printed, printed
  assert printed.startswith('error: ') and 'Traceback' not in printed
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'key,words',
  [
    ('sede', '--config.sede: no such key; config has seed, '),
    ('full.stepps', 'config.full has '),
    ('data.nothing.at_all', 'config.data has '),
    ('seed.at_all', 'config.seed has none'),
  ],
)
def test_a_key_that_is_none_is_named_with_those_there_are(key, words, capsys):
  line = ['--config=tests/tiny.py', '--workdir=x', f'--config.{key}=3']
  assert main.main(line) == 1
  error = capsys.readouterr().err
  assert words in error and error.count('\n') == 1


@pytest.mark.parametrize(
  'arguments,words',
  [
    (['--workdir={}://not-there/a'], '://not-there/a cannot be written: '),
    (
      ['--config.model.init_from={}://bucket/none'],
      '://bucket/none is neither',
    ),
    (
      ['--config.log.writers=jsonl+tensorboard', '--workdir={}://bucket/a'],
      'log.writers is',
    ),
    (['--config.log.trace=(1,2)', '--workdir={}://bucket/a'], 'log.trace is'),
  ],
)
@pytest.mark.parametrize('scheme', buckets.SCHEMES)
def test_what_cannot_be_in_a_bucket_is_a_line(run, scheme, arguments, words):
  buckets.serve()
  code, printed = run(*(a.format(scheme) for a in arguments))
  assert code == 1 and words in printed, printed
  assert printed.startswith('error: ') and 'Traceback' not in printed


@pytest.mark.parametrize(
  'text,words',
  [
    (None, 'there is no such file'),
    ('x = 1', 'get_config'),
    ('def get_config(', 'SyntaxError'),
    ('import nothing_of_that_name', 'nothing_of_that_name'),
    ('def get_config():\n  return 1 / 0', 'line 2: ZeroDivisionError'),
    (
      'from tests import tiny\n'
      'def get_config():\n'
      '  c = tiny.get_config()\n'
      '  c.base.stepps = 3\n'
      '  return c',
      'line 4: AttributeError',
    ),
  ],
)
def test_a_config_file_that_cannot_be_read_is_a_line(
  run, text, words, tmp_path
):
  file = tmp_path / 'config.py'
  if text is not None:
    file.write_text(text)
  code, printed = run(config=file)
  assert code == 1 and words in printed and printed.count('\n') == 1, printed
  assert printed.startswith('error: ') and 'Traceback' not in printed


def test_a_wrong_argument_of_a_config_file_is_a_line(run):
  code, printed = run(config=f'{TINY}:jobss=full')
  assert code == 1 and 'jobss=full' in printed
  assert printed.count('\n') == 1 and 'Traceback' not in printed


def test_a_port_in_use_is_tried_again(run, monkeypatch):
  monkeypatch.setattr(roll_call, '_BIND_TIMEOUT', 0.0)
  with socket.create_server(('127.0.0.1', 0)) as taken:
    code, printed = run(
      f'--coordinator=127.0.0.1:{taken.getsockname()[1]}',
      '--processes=2',
      '--process=0',
    )
  assert code == 70 and 'cannot listen on port' in printed
  assert 'Traceback' not in printed


@pytest.mark.parametrize('number', [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_disk_that_fails_at_the_start_is_tried_again(
  run, call, number, monkeypatch
):
  """Where the first file of the workdir is written."""

  def fail(*_):
    raise OSError(number, 'the disk')

  monkeypatch.setattr(files.os, call, fail)
  code, printed = run()
  assert code == 70 and 'the disk' in printed


def test_a_workdir_in_use_is_refused(run, tmp_path):
  with claim.claim(tmp_path / 'run'):
    code, printed = run()
  assert code == 1 and 'is in use by process' in printed


def test_other_commands_keep_the_two_apart():
  def fail(error):
    def act():
      raise error

    return command.run(act)

  assert fail(ValueError('no such plan')) == command.REFUSED
  assert fail(FileNotFoundError(2, 'no such file')) == command.REFUSED
  assert fail(OSError(errno.EIO, 'the disk')) == command.DIED
  assert fail(errors.Passing('the disk')) == command.DIED
  assert fail(KeyboardInterrupt()) == command.INTERRUPTED
