"""Which jobs run, in which order, and which keys their results hold fast."""

import dataclasses

import pytest

from tests import config_test
from visor_jax.jobs import order
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import stages

make = config_test.make


def test_all_jobs_are_those_with_steps_in_order():
  assert order.asked(make()) == ('search', 'label', 'eval', 'report')
  assert order.asked(make(policy__steps=3, base__steps=1)) == (
    'base',
    'search',
    'label',
    'policy',
    'eval',
    'report',
  )


@pytest.mark.parametrize(
  'jobs,want',
  [
    ('eval', ('eval',)),
    ('report+search', ('search', 'report')),
    ('full+full', ('full',)),
    ('policy+full', ('full', 'policy')),
  ],
)
def test_jobs_run_in_the_order_of_the_recipe(jobs, want):
  assert order.asked(make(jobs=jobs, full__steps=1, policy__steps=1)) == want


@pytest.mark.parametrize('jobs', ['', 'evl', 'eval+', 'eval search', 'base'])
def test_a_job_that_cannot_be_is_an_error(jobs):
  with pytest.raises(ValueError, match='jobs: '):
    order.asked(make(jobs=jobs))


def test_plans_are_answered_by_what_the_router_starts_from(monkeypatch):
  """A stage between the two is asked and labelled without another word."""
  assert order.answering('fixed') == 'universal'
  policy = dataclasses.replace(
    stages.POLICY, starts_from=('polish', *stages.POLICY.starts_from)
  )
  monkeypatch.setitem(stages.STAGES, 'policy', policy)
  assert order.answering('fixed') == 'polish'


# Keys that results hold fast --------------------------------------------------


@pytest.fixture
def leave(tmp_path):
  """Lets jobs leave results in a workdir; a plan stands for answers of eval."""
  workdir = workdir_lib.Workdir(tmp_path)

  def leave(*jobs):
    for job in jobs:
      if job in ('search', 'label'):
        workdir.answers(job).mkdir(parents=True)
      elif job.startswith('eval/'):
        folder = workdir.answers('eval') / job.removeprefix('eval/')
        folder.mkdir(parents=True)
        (folder / '0-8.jsonl').touch()
      else:
        (workdir.checkpoints(job) / '4').mkdir(parents=True)
    return workdir

  return leave


ALL = ('base', 'cross', 'full', 'search', 'universal', 'label', 'policy')


@pytest.mark.parametrize(
  'key,jobs',
  [
    ('seed', [*ALL, 'eval']),
    ('model.size', [*ALL, 'eval']),
    ('old.key', [*ALL, 'eval']),  # nobody knows what it was good for
    ('base.steps', [*ALL, 'eval']),
    ('search.max_plans', [*ALL, 'eval']),  # the router's width
    ('full.learning_rate', [*ALL[2:], 'eval']),
    ('search.examples', [*ALL[3:], 'eval']),
    ('policy.keep', ['policy', 'eval']),
    ('eval.score', [*ALL[3:], 'eval']),  # the search asks by it
    ('eval.max_new_tokens', [*ALL[3:], 'eval']),
    ('eval.sources', ['eval']),
    ('eval.plans', []),
    ('eval.examples', []),
    ('eval.reduce', []),
    ('eval.benchmarks', []),
  ],
)
def test_results_depend_on_keys_of_their_job_and_of_those_before(
  leave, key, jobs
):
  workdir = leave(*ALL, 'eval/max', 'eval/router@0.3')
  assert order.dependents(key, workdir) == jobs


def test_only_what_has_left_results_holds_a_key(leave):
  """A stage that was stopped before its first checkpoint starts anew."""
  workdir = leave('base', 'cross')
  (workdir.path / 'full').mkdir()
  workdir.metrics('full').touch()
  assert order.with_results(workdir) == ['base', 'cross']
  assert order.dependents('full.learning_rate', workdir) == []
  assert order.dependents('seed', workdir) == ['base', 'cross']


@pytest.mark.parametrize(
  'plans,keys',
  [
    ('eval/base', ['base.steps']),
    ('eval/0,2', ['base.steps', 'full.steps', 'universal.steps']),
    (
      'eval/docvqa/fastv:2:0.5/router-0.01',
      ['base.steps', 'full.steps', 'universal.steps', 'policy.steps'],
    ),
  ],
)
def test_answers_depend_on_the_stage_that_was_asked(leave, plans, keys):
  workdir = leave(plans)
  stages = ('base.steps', 'full.steps', 'universal.steps', 'policy.steps')
  assert [k for k in stages if order.dependents(k, workdir)] == keys
