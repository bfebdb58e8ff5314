"""Whole runs, as a user starts them: killed, resumed, refused."""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import runs
from tests import tiny
from visor_jax import ask
from visor_jax.checkpoint import __main__
from visor_jax.eval import results
from visor_jax.runtime import files
from visor_jax.runtime import preempt

TINY = pathlib.Path(__file__).with_name('tiny.py')


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """Starts `python -m visor_jax.main` on the tiny recipe in a workdir."""
  cache = tmp_path_factory.mktemp('compiled')  # each process compiles alike

  def run(workdir, *flags, arg='', **kwargs):
    return subprocess.Popen(
      [
        sys.executable,
        '-m',
        'visor_jax.main',
        f'--config={TINY}{arg}',
        f'--workdir={workdir}',
        *flags,
      ],
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      env=os.environ
      | {
        'JAX_COMPILATION_CACHE_DIR': str(cache),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      },
      **kwargs,
    )

  return run


@pytest.fixture(scope='module')
def alone(start, tmp_path_factory):
  """A run that nobody disturbed."""
  workdir = tmp_path_factory.mktemp('alone')
  run = start(workdir)
  out, _ = run.communicate(timeout=600)
  assert run.returncode == 0, out
  return workdir


def test_an_empty_workdir_becomes_a_report(alone):
  rows = [json.loads(l) for l in open(alone / 'results.jsonl')]
  assert {'base', 'fixed', 'router'} == {r['selector'] for r in rows}
  for row in rows:
    assert (row['plan'] is None) == (row['selector'] != 'fixed')
    assert 0 <= row['accuracy'] <= 1 and row['llm_prefill_flops'] > 0
    assert {
      'family',
      'group',
      'n',
      'flops_saved',
      'accounting',
      'seed',
      'versions',
      *results.MEANS,
    } <= row.keys()
    assert row['measured']['first_token_s'] > 0 < row['measured']['peak_bytes']
  page = (alone / 'report' / 'index.html').read_text()
  assert page.startswith('<!doctype') and 'Question by question' in page


def test_a_finished_run_answers_its_test_questions(alone, monkeypatch, capsys):
  """As the eval job was answered; beside it stands what is right."""
  monkeypatch.setattr(
    ask.compilation_cache, 'use_beside', lambda folder: folder / 'compiled'
  )
  asked = ['--checkpoint', str(alone), '--max-new-tokens', '2', '--plan', 'max']
  assert ask.main([*asked, '--json', '--index', '3', '--index', '6']) == 0
  answers = map(json.loads, capsys.readouterr().out.splitlines())
  rows = files.read_jsonl(alone / 'eval' / 'max' / '0-16.jsonl')
  for answer, index in zip(answers, (3, 6), strict=True):
    row = rows[index]
    assert answer['text'] == row['answer']
    for key in ('question', 'gold', 'score', 'llm_prefill_flops'):
      assert answer[key] == row[key]
    assert (alone / 'asked' / f'test-{index}.png').exists()


def test_frozen_leaves_are_bitwise_the_same_after_a_stage(alone):
  trained = {
    'base': ('vision', 'connector', 'llm'),
    'cross': ('cross',),
    'policy': ('router',),
  }
  before, cross, after = (
    {k: v for k, v in runs.final(alone, s).items() if "['params']" in k}
    for s in ('base', 'cross', 'universal')
  )
  moved = {k for k in before if not np.array_equal(before[k], cross[k])}
  assert moved and all("['cross']" in k for k in moved), trained
  policy = runs.final(alone, 'policy')
  moved = {k for k in after if not np.array_equal(after[k], policy[k])}
  assert moved and all("['router']" in k for k in moved)


# Training and answering are both killed, and both told to leave.
MOMENTS = {
  'base 8/': signal.SIGTERM,
  'full 10/': signal.SIGKILL,
  'search questions, plan max 16/': signal.SIGINT,
  'universal 6/': signal.SIGINT,
  'policy 6/': signal.SIGKILL,
  'test questions, plan router 16/': signal.SIGKILL,
}
# In jobs that are done by the same loops.
OTHERS = {
  'cross 6/': signal.SIGKILL,
  'label questions, plan min 16/': signal.SIGTERM,
}


def listens(pid):
  """Whether a run has a handler for SIGTERM yet."""
  status = pathlib.Path(f'/proc/{pid}/status').read_text()
  caught = int(re.search('SigCgt:\t(.*)', status)[1], 16)
  return caught >> (signal.SIGTERM - 1) & 1


@pytest.mark.parametrize(
  'seconds,number',
  [
    (0, signal.SIGTERM),
    (1, signal.SIGINT),
    (4, signal.SIGTERM),
    *(
      pytest.param(*other, marks=pytest.mark.drill)
      for other in ((0, signal.SIGINT), (1, signal.SIGTERM), (4, signal.SIGINT))
    ),
  ],
)
def test_a_signal_at_the_start_ends_in_order(start, tmp_path, number, seconds):
  """While it imports, joins devices, opens data or compiles."""
  run = start(tmp_path)
  while not listens(run.pid):
    time.sleep(0.01)
  time.sleep(seconds)
  run.send_signal(number)
  out, _ = run.communicate(timeout=300)
  assert run.returncode == preempt.EXIT_CODE, out
  assert f'{number.name}; the same command goes on' in out
  assert 'Traceback' not in out


@pytest.mark.parametrize(
  'moments', [MOMENTS, pytest.param(OTHERS, marks=pytest.mark.drill)]
)
def test_killed_in_its_stages_it_ends_bitwise_the_same(
  start, alone, tmp_path, moments
):
  for words, number in moments.items():
    runs.stop_at(start(tmp_path), words, number)
    assert __main__.main(['verify', f'--workdir={tmp_path}']) in (
      (0, 1) if number == signal.SIGKILL else (0,)
    )
  run = start(tmp_path)
  out, _ = run.communicate(timeout=600)
  assert run.returncode == 0, out
  for stage in tiny.STAGES:
    runs.same(runs.final(alone, stage), runs.final(tmp_path, stage))
    steps = [
      json.loads(l)['step'] for l in open(tmp_path / stage / 'metrics.jsonl')
    ]
    assert steps == sorted(set(steps)) and steps[-1] == 12
  assert runs.results(alone) == runs.results(tmp_path)
  for name in (
    'label/labels.jsonl',
    'search/plans.json',
    'policy/calibration.json',
  ):
    assert (alone / name).read_text() == (tmp_path / name).read_text()


def harry(start, workdir, rng):
  """Sends signals to a run at random moments until it ends; how many."""
  sent = 0
  while True:
    # Who goes on tells what is done first, in some fifty lines at the end.
    run, lines = start(workdir), int(rng.integers(1, 60))
    number = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    for line, _ in zip(run.stdout, range(lines)):
      assert 'Traceback' not in line, line
    time.sleep(rng.uniform(0, 0.5))
    if run.poll() is None:
      run.send_signal(number)
      sent += 1
    out, _ = run.communicate()
    # A signal may come when Python ends, and nobody listens any more.
    if run.returncode == 0 or 'all done in' in out:
      return sent
    asked_to_leave = number != signal.SIGKILL
    assert run.returncode == (
      preempt.EXIT_CODE if asked_to_leave else -number
    ), out


@pytest.mark.drill
def test_killed_at_random_moments(start, alone, tmp_path):
  """$VISOR_KILLS times, in as many runs as it takes."""
  rng, sent, count = np.random.default_rng(0), 0, 0
  while sent < int(os.environ.get('VISOR_KILLS', 20)):
    workdir = tmp_path / str(count)
    sent += harry(start, workdir, rng)
    count += 1
    for stage in tiny.STAGES:
      runs.same(runs.final(alone, stage), runs.final(workdir, stage))
    assert runs.results(alone) == runs.results(workdir)
    print(f'{sent} signals, {count} runs: nothing lost', flush=True)


@pytest.mark.drill
def test_a_disk_that_fails_at_random_loses_nothing(
  start, alone, tmp_path, monkeypatch
):
  """EIO from a share of all calls on files of the workdir, $VISOR_FAULTS times.

  By calls of the C library, so that no writer is spared; started again, as a
  launcher does, until it is done.
  """
  shim, log = tmp_path / 'faults.so', tmp_path / 'log'
  source = pathlib.Path(__file__).with_name('faults.c')
  compiler = ['cc', '-shared', '-fPIC', '-O2', '-o', shim, source, '-ldl']
  subprocess.run(compiler, check=True)
  log.touch()
  monkeypatch.setenv('FAULTS_LOG', str(log))
  monkeypatch.setenv('LD_PRELOAD', str(shim))
  count = starts = 0
  while log.stat().st_size < int(os.environ.get('VISOR_FAULTS', 100)):
    workdir, code = tmp_path / str(count), None
    monkeypatch.setenv('FAULTS_UNDER', str(workdir))
    # Others every time: where as many fail as open a run, none ever does.
    monkeypatch.setenv('FAULTS_EVERY', str((100, 300, 1000)[count % 3]))
    while code != 0:
      run, starts = start(workdir), starts + 1
      out, _ = run.communicate(timeout=900)
      code = run.returncode
      assert code in (0, 70), out
    count += 1
    for stage in tiny.STAGES:
      runs.same(runs.final(alone, stage), runs.final(workdir, stage))
    assert runs.results(alone) == runs.results(workdir)
    print(
      f'{log.stat().st_size} faults, {count} runs, {starts} starts: nothing '
      'lost',
      flush=True,
    )


def fails(run, *words):
  out, _ = run.communicate(timeout=120)
  assert run.returncode == 1, out
  for word in words:
    assert word in out
  assert 'Traceback' not in out


def test_a_workdir_of_another_config_is_refused(start, alone):
  fails(
    start(alone, '--config.full.learning_rate=3e-4'),
    'full.learning_rate',
    '0.0003',
    '0.001',
    '--workdir',
  )


def test_keys_that_change_no_result_are_not_compared(start, alone):
  run = start(
    alone,
    '--config.log.every=1',
    '--config.checkpoint.every=3',
    arg=':jobs=report',
  )
  out, _ = run.communicate(timeout=120)
  assert run.returncode == 0, out


def test_a_run_that_goes_nowhere_stops(start, tmp_path):
  """Weights that are finite and far too large: no step is good from there."""
  fails(
    start(
      tmp_path,
      '--config.base.learning_rate=1e30',
      '--config.optim.max_nonfinite_steps=3',
      arg=':jobs=base',
    ),
    '3 steps in a row',
    'nonfinite.jsonl',
    'learning rate',
  )
  steps = [
    r['step'] for r in files.read_jsonl(tmp_path / 'base/nonfinite.jsonl')
  ]
  assert len(steps) >= 3 and steps == [*range(steps[0], steps[-1] + 1)]
  rows = files.read_jsonl(tmp_path / 'base/metrics.jsonl')
  assert rows[-1]['step'] == steps[-1]
  assert sum(r['skipped'] for r in rows) == len(steps)


def test_a_live_workdir_is_refused(start, tmp_path):
  first = start(tmp_path)
  try:
    for line in first.stdout:
      if 'job 1' in line:
        break
    fails(start(tmp_path), 'in use', str(first.pid))
  finally:
    first.kill()
    first.communicate()


def test_a_stage_without_the_one_before_is_refused(start, tmp_path):
  fails(
    start(tmp_path, arg=':jobs=full'),
    'cross stage is not finished',
    'jobs=cross',
  )


@pytest.mark.drill
def test_a_full_disk_leaves_the_last_checkpoint_good(start, tmp_path):
  """A limit on file sizes stands for the disk: writes fail half way."""

  def small_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

  run = start(tmp_path, '--config.base.steps=400', arg=':jobs=base')
  for line in run.stdout:
    if 'base 20/' in line:
      break
  run.send_signal(signal.SIGKILL)
  run.communicate()
  good = max(
    int(p.name)
    for p in (tmp_path / 'base/checkpoints').iterdir()
    if p.name.isdigit()
  )
  run = start(
    tmp_path,
    '--config.base.steps=400',
    arg=':jobs=base',
    preexec_fn=small_files,
  )
  out, _ = run.communicate(timeout=300)
  assert run.returncode == 70 and f'goes on from step {good}' in out, out
  assert runs.final(tmp_path, 'base', good)


@pytest.mark.drill
def test_every_analysis_of_a_run_is_on_its_page(alone, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(alone, workdir)

  def command(name, *flags):
    done = subprocess.run(
      [sys.executable, '-m', f'visor_jax.{name}', *map(str, flags)],
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout

  flags = (f'--workdir={workdir}', f'--experiment={TINY}', '--examples=16')
  command('analysis', *flags)
  (workdir / 'analysis/cka.json').unlink()
  printed = command('analysis', *flags)
  assert printed.count('done before') == 4 and 'cka, plan max 16/16' in printed
  command('report', f'--workdir={workdir}')
  page = (workdir / 'report/index.html').read_text()
  for title in (
    'Where text looks',
    'visual features change',
    'need the image',
    'families it has not seen',
    'Cost by the length',
  ):
    assert title in page
