"""Budgets become plans, plans become runs, runs become one page."""

import json
import pathlib
import re
import subprocess
import sys

from absl.testing import flagsaver
import pytest

from launch import sweep
from tests import tiny
from visor_jax.data.suites import digits
from visor_jax.eval import costs
from visor_jax.runtime import checksums
from visor_jax.runtime import files
from visor_jax.training import model as model_lib

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def swept(tmp_path, monkeypatch):
  """Runs a sweep whose jobs write down what they would do."""
  ran = []

  def run(what, line, running):
    ran.append(line)
    (workdir,) = (
      pathlib.Path(a.partition('=')[2])
      for a in line
      if a.startswith('--workdir=')
    )
    if what == 'shared':
      for stage in ('base', 'cross'):
        (workdir / stage).mkdir(parents=True)
      return True
    (plan,) = (a.partition('plans=')[2] for a in line if 'eval.plans' in a)
    if plan in run.broken:
      return False
    rows = [
      dict(
        family=f,
        group=g,
        selector='fixed',
        accuracy=0.5,
        n=10,
        plan=[int(plan == 'max')],
        llm_prefill_flops=1e6,
        flops_saved=2.0,
      )
      for f, g in (('a', 'coarse'), ('b', 'fine'))
    ]
    checksums.write(
      workdir / 'results.jsonl', ''.join(json.dumps(r) + '\n' for r in rows)
    )
    return True

  def start(*options, broken=()):
    ran.clear()
    run.broken = broken
    sweep.flags.FLAGS(
      ['sweep', '--budgets=0.6,1,0.7', '--do=train', '--workdir=x', *options]
    )
    done = sweep.sweep(
      tiny.get_config(), tmp_path, ['--config=c'], sweep.together.Jobs()
    )
    return done, [
      a.rpartition('/')[2]
      for line in ran
      for a in line
      if a.startswith('--workdir=')
    ]

  monkeypatch.setattr(sweep, 'run', run)
  return start


def test_a_sweep_goes_on_where_it_was(swept, tmp_path):
  """What is done is not done again, what failed is; then comes the page."""
  assert swept(broken=('max',)) == (
    False,
    ['shared', 'budget-0.6', 'budget-1'],
  )  # 0.7 means the plan of 0.6
  assert (tmp_path / 'report/index.html').exists()
  assert swept() == (True, ['budget-1'])
  assert swept() == (True, [])
  rows = files.read_jsonl(tmp_path / 'results.jsonl')
  assert [r['plan'] for r in rows] == [[0], [0], [1], [1]]
  page = (tmp_path / 'report/index.html').read_text()
  assert 'Accuracy against cost' in page and re.search(r'\bmin\b', page)
  results = tmp_path / 'budget-0.6/results.jsonl'
  results.write_text(results.read_text().splitlines(True)[0])  # it had two
  assert swept()[1] == ['budget-0.6']
  for budget in ('0.6', '1'):
    stage = tmp_path / f'budget-{budget}' / 'base'
    assert stage.resolve() == tmp_path / 'shared' / 'base'


def test_a_budget_may_be_of_all_that_a_question_takes():
  """What an eval job writes of answers so long says the same."""
  c = tiny.get_config()
  model = model_lib.build(c)
  least, largest = model.layout.min, model.layout.max
  suite = digits.Suite(c.seed, **c.data.digits)
  prompts = [suite.prompt('test', i)[0] for i in range(c.eval.examples)]
  texts = [int((prompt['text_segment'] > 0).sum()) for prompt in prompts]

  def share(of, *options):
    with flagsaver.flagsaver():
      sweep.flags.FLAGS(['sweep', '--budgets=1', '--workdir=x', *options])
      got = sweep.shares(c)
    rows = [
      costs.of_answer(model, least, costs.PromptSize(10, text, (1,)), 3)
      for text in texts
    ]
    taken, most = (sum(r[key] for r in rows) for key in of)
    assert got == {least: pytest.approx(taken / most), largest: 1}
    return got[least]

  prefill = share(('llm_prefill_flops', 'max_prefill_flops'))
  total = share(
    ('total_flops', 'max_total_flops'), '--budget-of=total', '--answer-tokens=3'
  )
  assert prefill < total  # the tower is the same


@pytest.mark.parametrize(
  'on,words',
  [
    ('local', ['-m visor_jax.main']),
    (
      'slurm',
      [
        'sbatch --wait --job-name=visor-',
        '--dependency=singleton',
        '--nodes=2',
        'launch/slurm.sh',
      ],
    ),
    ('gke', ['launch/gke.py --name=visor-', '--wait', '--nodes=2']),
  ],
)
def test_a_dry_run_says_what_would_run(on, words, tmp_path, capsys):
  options = [] if on == 'local' else ['--launch=--nodes=2']
  sweep.flags.FLAGS(
    [
      'sweep',
      '--budgets=0.6,1',
      '--do=train',
      f'--on={on}',
      '--workdir=x',
      '--dry-run',
      *options,
    ]
  )
  try:
    assert sweep.sweep(
      tiny.get_config(), tmp_path, ['--config=c'], sweep.together.Jobs()
    )
  finally:
    sweep.flags.FLAGS(
      [
        'sweep',
        '--nodry-run',
        '--on=local',
        '--launch=',
        '--budgets=1',
        '--workdir=x',
      ]
    )
  lines = [l for l in capsys.readouterr().out.splitlines() if '--workdir' in l]
  assert len(lines) == 3 and not [*tmp_path.iterdir()]
  for line in lines:
    assert all(word in line for word in words), line
  assert 'jobs=base+cross ' in lines[0]
  assert 'full.plan=min' in lines[1] and 'eval.plans=max' in lines[2]


@pytest.mark.drill
@pytest.mark.parametrize('do', ['eval', 'train'])
def test_a_real_sweep_ends_in_one_page(do, tmp_path):
  done = subprocess.run(
    [
      sys.executable,
      ROOT / 'launch/sweep.py',
      f'--do={do}',
      '--on=local',
      f'--config={ROOT / "tests/tiny.py"}',
      f'--workdir={tmp_path}',
      '--budgets=0.5,1',
    ],
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
  )
  assert done.returncode == 0, done.stdout
  rows = files.read_jsonl(tmp_path / 'results.jsonl')
  assert {tuple(r['plan']) for r in rows} == {(0,), (1,)}
  assert (tmp_path / 'report/index.html').exists()
