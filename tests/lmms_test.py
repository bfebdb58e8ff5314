"""lmms-eval itself asks visor_jax, and says what visor_jax says.

A drill: it needs an environment with lmms-eval, in which `pip install --no-deps
-e .` has put the entry point, and its Python in LMMS_EVAL_PYTHON.
"""

import json
import os
import pathlib
import subprocess

import pytest

from tests import hub
from tests import joined_test
from tests.benchmarks import suite_test
from tests.jobs import evaluate_test
import visor_jax
from visor_jax.benchmarks import questions
from visor_jax.benchmarks import table
from visor_jax.convert import folders

pytestmark = pytest.mark.drill
PYTHON = os.environ.get('LMMS_EVAL_PYTHON')
NAMES = {'mme': 'mme/mme', 'seedbench': 'seedbench/seedbench'}
TASK = """\
include: {file}
task: tiny_{name}
dataset_path: parquet
dataset_kwargs:
  data_files: {{{split}: {data}/{name}/data/*.parquet}}
generation_kwargs:
  max_new_tokens: 5
"""
# The tables have bytes, not datasets' own Image.
UTILS = """\
import io
import PIL.Image

def visuals(doc):
  images = doc['image'] if isinstance(doc['image'], list) else [doc['image']]
  return [PIL.Image.open(io.BytesIO(i['bytes'])).convert('RGB') for i in images]
"""


@pytest.fixture(scope='module')
def harness():
  if not PYTHON:
    pytest.fail(
      'set LMMS_EVAL_PYTHON to the Python of an environment with '
      'lmms-eval; see tests/benchmarks/oracle.py'
    )
  folder = subprocess.run(
    [PYTHON, '-c', 'import lmms_eval; print(lmms_eval.__path__[0])'],
    text=True,
    capture_output=True,
    check=True,
  ).stdout.split()[-1]
  return pathlib.Path(folder)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp('hub')
  for name in NAMES:
    hub.write(folder, name, suite_test.asked(name))
  return folder


@pytest.fixture(scope='module', params=joined_test.FAMILIES)
def workdir(request, tmp_path_factory):
  """Of each family."""
  where = tmp_path_factory.mktemp(request.param)
  _, write, _ = joined_test.FAMILIES[request.param]
  write(where / 'hf', text=dict(num_hidden_layers=3))
  folders.import_(where / 'hf', where / 'ckpt')
  return evaluate_test.leave(where / 'run', where / 'ckpt', evaluate_test.noise)


@pytest.mark.parametrize('plan', ['base', 'router', '0'])
@pytest.mark.parametrize('name', list(NAMES))
def test_the_harness_gets_our_answers(
  harness, data, workdir, name, plan, tmp_path
):
  record = table.BENCHMARKS[name]
  (tmp_path / 'utils.py').write_text(UTILS)
  (tmp_path / 'task.yaml').write_text(
    TASK.format(
      file=harness / f'tasks/{NAMES[name]}.yaml',
      name=name,
      data=data,
      split=record.split,
    )
    + 'doc_to_visual: !function utils.visuals\n'
  )
  done = subprocess.run(
    [
      PYTHON,
      '-m',
      'lmms_eval',
      '--model',
      'visor_jax',
      '--tasks',
      f'tiny_{name}',
      '--include_path',
      tmp_path,
      '--batch_size',
      '3',
      '--model_args',
      f'checkpoint={workdir},plan={plan}',
      '--log_samples',
      '--output_path',
      tmp_path / 'out',
    ],
    text=True,
    capture_output=True,
    env=os.environ
    | dict(
      JAX_PLATFORMS='cpu', HF_HUB_OFFLINE='1', HF_HOME=str(tmp_path / 'cache')
    ),
    cwd=tmp_path,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert 'fewer FLOPs than base end to end' in done.stdout + done.stderr
  (path,) = (tmp_path / 'out').rglob('*samples*.jsonl')
  got = {}
  for line in path.read_text().splitlines():
    row = json.loads(line)
    reply = row['filtered_resps']
    got[row['doc_id']] = reply[0] if isinstance(reply, list) else reply
  model = visor_jax.load(workdir)
  asked = questions.Questions(record, 'rules', data / name)
  raws = [asked[i] for i in range(len(asked))]
  turns = [raw.turns[0] for raw in raws]
  texts = [
    a.text
    for a in model.generate(  # in one batch, unlike the harness
      [list(raw.images) for raw in raws],
      [t.question for t in turns],
      plan,
      max_new_tokens=5,
    )
  ]
  assert [got[i] for i in range(len(raws))] == [s.strip() for s in texts]
  answered = [
    dict(gold=t.answer, answer=s, score=record.score(s, t.answer))
    for s, t in zip(texts, turns)
  ]
  (path,) = (tmp_path / 'out').rglob('*results.json')
  theirs = json.loads(path.read_text())['results'][f'tiny_{name}']
  ours = record.result(answered)
  if name == 'seedbench':
    assert theirs['seed_all,none'] == pytest.approx(ours['detail']['all'])
  else:
    assert theirs['mme_perception_score,none'] == pytest.approx(
      ours['detail']['perception']
    )
  assert len(got) == len(asked) == 8
