"""From someone's checkpoint and files to a network that others load.

Each step is the command that the README gives; of all families but the first
it is a drill.
"""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests import fastvlm
from tests import llava
from tests import pictures
from tests import qwen2_vl
from tests import runs
from tests.convert import checkpoints
from visor_jax.convert import safetensors
from visor_jax.runtime import files
from visor_jax.training import stages

ROOT = pathlib.Path(__file__).parents[1]
# {name: experiment, who writes a checkpoint, who has it loaded by transformers}
FAMILIES = {
  'llava_ov': ('llava_ov', llava.Oracle, checkpoints.loads),
  'fastvlm': ('fastvlm', fastvlm.Oracle, fastvlm.loads),
  'qwen2_vl': ('qwen2_vl', qwen2_vl.Oracle, qwen2_vl.loads),
  'qwen2_5_vl': (
    'qwen2_vl',
    functools.partial(qwen2_vl.Oracle, windowed=True),
    functools.partial(qwen2_vl.loads, windowed=True),
  ),
}
SIDES = 6  # layers of the tiny decoder, two of them CROSS, two optional SELF


@pytest.fixture(scope='module')
def process(tmp_path_factory):
  """What subprocess needs to run `python -m visor_jax.NAME`."""
  cache = tmp_path_factory.mktemp('compiled')  # each process compiles alike

  def process(name, *args):
    return dict(
      args=[sys.executable, '-m', f'visor_jax.{name}', *map(str, args)],
      text=True,
      env=os.environ
      | {
        'JAX_COMPILATION_CACHE_DIR': str(cache),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      },
    )

  return process


@pytest.fixture(scope='module')
def command(process):
  """Runs `python -m visor_jax.NAME` and returns what it printed."""

  def run(name, *args, code=0, timeout=3600):
    done = subprocess.run(
      **process(name, *args), capture_output=True, timeout=timeout
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr * bool(code)

  return run


@pytest.fixture(scope='module')
def shards(tmp_path_factory, command):
  """Prepared shards to learn from and to be tested on."""
  folders = []
  for name, count, seed in (('train', 60, 0), ('test', 20, 1)):
    folder = tmp_path_factory.mktemp(name)
    pictures.write(folder, count, seed)
    command(
      'data.prepare',
      '--src',
      folder / 'train.json',
      '--images',
      folder,
      '--out',
      folder / 'shards',
      '--workers',
      1,
    )
    folders.append(folder / 'shards')
  return folders


@pytest.fixture(
  scope='module',
  params=[
    'llava_ov',
    *(
      pytest.param(name, marks=pytest.mark.drill)
      for name in ('fastvlm', 'qwen2_vl', 'qwen2_5_vl')
    ),
  ],
)
def family(request):
  return request.param


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory, command, family):
  where = tmp_path_factory.mktemp(family)
  FAMILIES[family][1](where / 'hf', text=dict(num_hidden_layers=SIDES))
  command('convert', 'import', '--src', where / 'hf', '--out', where / 'ckpt')
  return where / 'ckpt'


@pytest.fixture(scope='module')
def flags(checkpoint, shards, family):
  """Of the last families the connector learns first."""
  train, test = shards
  return (
    f'--config={ROOT}/experiments/{FAMILIES[family][0]}.py:size=tiny',
    f'--config.model.init_from={checkpoint}',
    f'--config.data.sources=(("desk", "{train}", 1.0),)',
    f'--config.eval.sources=(("desk", "{test}", 1.0),)',
    f'--config.connector.steps={6 * (family != "llava_ov")}',
  )


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, command, flags):
  folder = tmp_path_factory.mktemp('run')
  (folder / 'printed').write_text(
    command('main', *flags, f'--workdir={folder}')
  )
  return folder


def test_the_recipe_runs_from_a_checkpoint_to_a_report(workdir, family):
  rows = files.read_jsonl(workdir / 'results.jsonl')
  assert {r['selector'] for r in rows} == {'base', 'fixed', 'router'}
  assert {r['family'] for r in rows} == {'desk'}
  saved = [r['flops_saved'] for r in rows if r['selector'] == 'fixed']
  assert max(saved) > 1
  # Of the 4 visual tokens here, CROSS layers cost max more than it saves.
  assert family == 'fastvlm' or min(saved) > 1
  assert (workdir / 'report/index.html').exists()


def trained(workdir):
  """The stages of a run."""
  return [
    stage
    for stage in stages.STAGES
    if (workdir / stage / 'checkpoints').exists()
  ]


def test_rows_are_packed_and_padding_is_told(workdir):
  for stage in trained(workdir)[:-1]:  # the router learns from features
    rows = files.read_jsonl(workdir / stage / 'metrics.jsonl')
    assert rows[-1]['step'] == 6 and np.isfinite(rows[-1]['loss'])
    assert all(0 < r['visual_padding'] < 0.6 for r in rows)
    assert all(0 <= r['input_wait'] <= 1 for r in rows)
  assert 'input' in (workdir / 'printed').read_text()


def test_the_result_is_asked_and_exported(
  workdir, shards, command, family, tmp_path
):
  image = next(shards[1].parent.glob('images/*.png'))
  args = (
    '--image',
    image,
    '--prompt',
    'What is the total?',
    '--json',
    '--max-new-tokens',
    4,
  )
  printed = json.loads(command('ask', '--checkpoint', workdir, *args))
  assert printed['selector'] == 'router' and printed['llm_prefill_flops'] > 0
  command('convert', 'export', '--src', workdir, '--out', tmp_path / 'hf')
  again = json.loads(command('ask', '--checkpoint', tmp_path / 'hf', *args))
  assert (again['text'], again['plan']) == (printed['text'], printed['plan'])
  model = FAMILIES[family][2](tmp_path / 'hf')
  assert model.config.text_config.num_hidden_layers == SIDES
  assert safetensors.file(tmp_path / 'hf' / 'visor.safetensors')


def test_changed_data_is_not_gone_on_with(workdir, shards, command, flags):
  """The batches of a resumed run would be others."""
  index = shards[0] / 'shards.json'
  text = index.read_text()
  index.write_text(text.replace('"records": ', '"records":  ', 1))
  try:
    printed = command('main', *flags, f'--workdir={workdir}', code=1)
  finally:
    index.write_text(text)
  assert 'error: the data of cross/desk' in printed and '--workdir' in printed


def test_a_source_that_is_not_there_is_named(command, flags, tmp_path):
  printed = command(
    'main',
    *flags[:2],
    '--config.data.sources=(("x", "/no", 1),)',
    flags[3],
    f'--workdir={tmp_path}',
    code=1,
  )
  assert 'error: source "x": /no: no such file or folder' in printed


def test_data_without_a_checkpoint_says_what_is_missing(
  command, flags, tmp_path
):
  printed = command(
    'main',
    flags[0],
    '--config.model.size=0.5b',
    *flags[2:],
    f'--workdir={tmp_path}',
    code=1,
  )
  assert 'error: data.sources need the tokenizer' in printed


@pytest.mark.drill
def test_two_processes_go_the_same_way(workdir, flags, tmp_path):
  """Each plans and decodes only the rows that it holds."""
  done = subprocess.run(
    [
      sys.executable,
      ROOT / 'launch/local.py',
      '--processes=2',
      '--devices=1',
      '--restarts=0',
      '--',
      *flags,
      f'--workdir={tmp_path}',
    ],
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
  )
  assert done.returncode == 0, done.stdout
  for stage in trained(workdir):
    one, two = (
      [
        (r['step'], r['loss'])
        for r in files.read_jsonl(folder / stage / 'metrics.jsonl')
      ]
      for folder in (workdir, tmp_path)
    )
    np.testing.assert_allclose(one, two, atol=1e-4)
  assert runs.results(workdir) == runs.results(tmp_path)
  file = 'label/labels.jsonl'
  assert (workdir / file).read_text() == (tmp_path / file).read_text()


# In every job once, in turn killed and told to leave.
MOMENTS = (
  'connector 2/',
  'cross 4/',
  'full 2/',
  'search questions, plan max 16/',
  'universal 4/',
  'label questions, plan min 16/',
  'policy 4/',
  'test questions, plan router 16/',
)


@pytest.mark.drill
def test_stopped_in_every_job_it_ends_bitwise_the_same(
  workdir, process, command, flags, family, tmp_path
):
  arguments = process('main', *flags, f'--workdir={tmp_path}')
  for number, words in enumerate(MOMENTS):
    if family != 'llava_ov' or 'connector' not in words:
      run = subprocess.Popen(
        **arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
      )
      runs.stop_at(run, words, (signal.SIGKILL, signal.SIGTERM)[number % 2])
  command('main', *flags, f'--workdir={tmp_path}')
  for stage in trained(workdir):
    runs.same(runs.final(workdir, stage, 6), runs.final(tmp_path, stage, 6))
  assert runs.results(workdir) == runs.results(tmp_path)
  file = 'label/labels.jsonl'
  assert (workdir / file).read_text() == (tmp_path / file).read_text()


@pytest.mark.drill
def test_killed_twenty_times_it_ends_bitwise_the_same(
  workdir, command, flags, tmp_path
):
  """kill -9, wherever it is: planning, decoding, training, labelling."""
  rng, kills = np.random.default_rng(0), 0
  while kills < 20:
    try:
      command(
        'main', *flags, f'--workdir={tmp_path}', timeout=rng.uniform(4, 18)
      )
      break
    except subprocess.TimeoutExpired:  # and killed
      kills += 1
  command('main', *flags, f'--workdir={tmp_path}')
  print(f'{kills} kills')
  assert kills >= 10
  for stage in trained(workdir):
    runs.same(runs.final(workdir, stage, 6), runs.final(tmp_path, stage, 6))
  assert runs.results(workdir) == runs.results(tmp_path)


@pytest.mark.drill
def test_what_it_does_inside_can_be_analysed(command, shards, workdir):
  train, test = shards
  flags = ('--workdir', workdir, '--examples=8', '--batch=8')
  printed = command('analysis', *flags, '--only=cka', code=1)
  assert '--eval-source=desk=PATH' in printed
  command(
    'analysis',
    *flags,
    '--only=attention,cka,drop,length',
    f'--eval-source=desk={test}',
  )
  printed = command(
    'analysis',
    *flags,
    '--only=unseen',
    f'--eval-source=desk={test}',
    f'--data-source=desk={train}',
    code=1,
  )
  assert 'too few families' in printed
  folders = json.loads((workdir / 'analysis/attention.json').read_text())
  base = folders['numbers']['base']
  assert base['kinds'] == ['self'] * SIDES and base['questions'] == {'desk': 8}
  to_image = base['shares']['fine']['answer_to_image']
  assert len(to_image) == SIDES and all(0 < x < 1 for x in to_image)
