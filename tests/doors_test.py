"""What commands are given by mistake ends in one line and a code of its own."""

import importlib
import os
import pathlib
import subprocess

import pytest

from tests import buckets

ROOT = pathlib.Path(__file__).parents[1]
BUCKET = 'gs://bucket/run'

root = buckets.root

# Every flag of every command that names what must be on a disk.
ON_DISK = {
  'benchmarks.__main__': [['--data=/none', '--out={}']],
  'convert.__main__': [
    ['import', '--src={}', '--out=/none'],
    ['import', '--src=/none', '--out={}'],
    ['export', '--src={}', '--out=/none'],
    ['export', '--src=/none', '--out={}'],
  ],
  'data.prepare.__main__': [['--src=/none', '--out={}']],
  'data.tfds_builder': [
    ['--shards={}', '--data-dir=/none', '--name=x'],
    ['--shards=/none', '--data-dir={}', '--name=x'],
  ],
}

# All others, which may be in a bucket.
ANYWHERE = {
  'ask': [['--checkpoint={}', '--prompt=x']],
  'benchmarks.__main__': [['--data={}']],
  'checkpoint.__main__': [
    ['verify', '--workdir={}'],
    ['verify', '--checkpoint={}'],
  ],
  'data.prepare.__main__': [
    ['--src={}', '--out=/none'],
    ['--src=/none', '--images={}', '--out=/none'],
  ],
  'report.__main__': [['--workdir={}']],
}


def lines(commands):
  return [(name, line) for name, lines in commands.items() for line in lines]


def ends(command, arguments, capsys):
  """The exit code and the error of a command."""
  main = importlib.import_module(f'visor_jax.{command}').main
  try:
    code = main(arguments)
  except SystemExit as e:
    code = e.code
  return code, capsys.readouterr().err


@pytest.mark.parametrize('address', [BUCKET, 's3://bucket/run'])
@pytest.mark.parametrize('command,arguments', lines(ON_DISK))
def test_what_must_be_on_a_disk_is_refused_in_a_bucket(
  command, arguments, address, capsys, tmp_path, monkeypatch
):
  """It would become a folder `gs:`, which nobody else sees."""
  monkeypatch.chdir(tmp_path)
  line = [argument.format(address) for argument in arguments]
  code, error = ends(command, line, capsys)
  (flag,) = (a.partition('=')[0] for a in arguments if '{}' in a)
  assert code == 2 and error.count('\n') == 1
  assert flag in error and address in error and 'mount it' in error
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('command,arguments', lines(ON_DISK | ANYWHERE))
def test_an_unknown_store_is_refused_at_every_door(
  command, arguments, capsys, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  line = [argument.format('hdfs://host/run') for argument in arguments]
  code, error = ends(command, line, capsys)
  assert code == 2 and 'hdfs://host/run' in error and 'mount it' in error
  assert error.count('\n') == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize('command,arguments', lines(ANYWHERE))
def test_what_is_not_in_a_bucket_is_a_line(
  command, arguments, root, capsys, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  line = [argument.format(root) for argument in arguments]
  code, error = ends(command, line, capsys)
  assert code == 1 and not list(tmp_path.iterdir())
  assert (
    not error
    or (error.startswith('error: ') and 'none' in error)
    or (root in error and error.count('\n') <= 2)
  )


@pytest.mark.parametrize('launcher', ['local.py', 'slurm.sh', 'rivals.py'])
def test_an_unknown_store_is_refused_by_launchers(launcher, tmp_path):
  workdir = 'hdfs://host/run'
  line = [ROOT / 'launch' / launcher, '--config=x.py', f'--workdir={workdir}']
  if launcher == 'local.py':
    line.insert(1, '--')
  if launcher == 'rivals.py':
    line.remove('--config=x.py')
  done = subprocess.run(
    line,
    text=True,
    capture_output=True,
    cwd=tmp_path,
    env=os.environ | {'SLURM_JOB_ID': '1', 'PYTHONPATH': str(ROOT)},
  )
  assert done.returncode == 2 and workdir in done.stderr
  assert 'mount it' in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'command,arguments,words',
  [
    ('report.__main__', [], '--workdir'),
    ('report.__main__', ['--workdir=/none'], '/none'),
    ('report.__main__', ['--wrokdir=/none'], '--workdir'),
    ('checkpoint.__main__', ['verify'], '--workdir'),
    ('checkpoint.__main__', ['verfy', '--workdir=/none'], 'verify'),
    ('convert.__main__', ['improt', '--src=a', '--out=b'], 'import'),
    ('convert.__main__', ['import', '--src=/none', '--out=/no/ne'], '/none'),
    ('convert.__main__', ['export', '--src=/none', '--out=/no/ne'], '/none'),
    ('data.prepare.__main__', ['--src=/none', '--out=/no/ne'], '/none'),
    ('data.prepare.__main__', ['--out=/no/ne'], '--src'),
    ('benchmarks.__main__', ['--data=/none'], '/none'),
    ('benchmarks.__main__', ['--data=/none', '--benchmarks=esy'], 'esy'),
    ('data.tfds_builder', ['--shards=/none'], '--data-dir'),
    ('ask', ['--checkpoint=/none', '--prompt=x'], '/none'),
    ('ask', ['--checkpoint=/none'], '/none'),
    ('ask', ['--prompt=x'], '--checkpoint'),
    (
      'ask',
      ['--checkpoint=/none', '--prompt=x', '--max-new-tokens=0'],
      'max_new_tokens is 0; expected a whole number of at least 1',
    ),
    (
      'ask',
      ['--checkpoint=/none', '--prompt=x', '--temperature=nan'],
      'temperature is nan',
    ),
    (
      'ask',
      ['--checkpoint=/none', '--prompt=x', '--top-p=1.5'],
      'top_p is 1.5; expected a number above 0',
    ),
    ('flops.__main__', ['--size=0.6b', '--image=1x1', '--text=1'], '0.6b'),
  ],
)
def test_a_typo_is_one_line(command, arguments, words, capsys):
  code, error = ends(command, arguments, capsys)
  assert code in (1, 2) and words in error, error
  assert error.startswith('error: ') and error.count('\n') <= 2, error
