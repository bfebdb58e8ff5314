"""Answers are of the question alone: not of its neighbours, nor who routed.

The model is tiny and random, and never right, but its greedy answers differ
from question to question and from plan to plan.
"""

import dataclasses
import types
import zlib

import jax
import numpy as np
import pytest

from visor_jax.data.suites import digits
from visor_jax.eval import run
from visor_jax.flops import cost as flops
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import architecture
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes
from visor_jax.training import model as model_lib

COUNT = 16
SUITE = digits.Suite(4)
SIZE = sizes.Size(
  sizes.Vision(12, 0, 2, 16, tile=(40, 16), patch=8),
  sizes.Language(
    12, 4, 2, 1, 6, 16, vocabulary=len(SUITE.words), rope_theta=100.0
  ),
)
MODEL = visor.Visor(
  architecture.Architecture(
    SIZE,
    plans.visor(4, (1,), (2, 3)),
    router=architecture.RouterOptions(hidden=8, plans=5),
  ),
  compute_lib.Compute(remat=False),
)
VIABLE = ((False, False), (True, False), (True, True))
ROUTER = plans.Selection('router')


@pytest.fixture(scope='module')
def subject():
  """A random model on one device."""
  return make(mesh_lib.make(devices=jax.devices()[:1]))


def make(mesh):
  """A random model; pair_test has it on two processes."""
  shapes = model_lib.abstract_params(MODEL, mesh)

  def fill(path, leaf):
    name = mesh_lib.path_name(path)
    x = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(
      leaf.shape
    )
    x = np.float32(1 + 0.2 * x if name.endswith('scale') else x / 2)
    return jax.make_array_from_callback(
      x.shape, mesh_lib.replicated(mesh), lambda at: x[at]
    )

  params = jax.tree_util.tree_map_with_path(fill, shapes)
  return run.ModelUnderTest(MODEL, params, mesh, SUITE, VIABLE)


@pytest.fixture(scope='module')
def ask(subject, tmp_path_factory):
  """(selection, batch, chunk, count, folder, under_test) -> rows."""

  def answers(
    selection,
    batch=8,
    chunk=COUNT,
    count=COUNT,
    folder=None,
    under_test=subject,
  ):
    folder = folder or tmp_path_factory.mktemp('answers')
    return run.answers(
      under_test,
      'test',
      count,
      selection,
      folder,
      types.SimpleNamespace(batch=batch, chunk=chunk),
      'exact',
    )

  return answers


@pytest.fixture(scope='module')
def fixed(ask):
  """Rows of every viable plan."""
  return {p: ask(plans.Selection('fixed', p)) for p in VIABLE}


@pytest.fixture(scope='module')
def routed(ask):
  return ask(ROUTER)


def test_rows_are_the_questions_in_order(fixed):
  """Labels and results match rows of different plans by their place."""
  for plan, rows in fixed.items():
    assert [r['index'] for r in rows] == list(range(COUNT))
    for i, row in enumerate(rows):
      (turn,) = SUITE.question('test', i).turns
      assert (row['question'], row['gold'], row['family']) == (
        turn.question,
        turn.answer,
        turn.family,
      )
      assert row['plan'] == [int(on) for on in plan]
      assert row['score'] == float(row['answer'] == turn.answer)


def test_the_model_is_worth_asking(fixed, routed):
  """Were all answers the same, the tests below would prove nothing."""
  answers = {p: [r['answer'] for r in rows] for p, rows in fixed.items()}
  assert all(len(set(a)) > 3 for a in answers.values())
  assert len({tuple(a) for a in answers.values()}) == len(VIABLE)
  assert len({tuple(r['plan']) for r in routed}) > 1


@pytest.mark.parametrize(
  'batch,chunk,count',
  [
    (8, 8, COUNT),
    (8, 5, COUNT),
    (8, 100, COUNT),
    (8, COUNT, 11),
    (3, COUNT, COUNT),
  ],
)
def test_answers_do_not_depend_on_batch_or_chunk(
  ask, fixed, batch, chunk, count
):
  """eval.batch and eval.chunk are no part of a run's identity."""
  plan = VIABLE[1]
  answers = ask(plans.Selection('fixed', plan), batch, chunk, count)
  assert answers == fixed[plan][:count]


def test_a_routed_answer_is_that_of_the_plan_it_chose(routed, fixed):
  """Going on from where the router read must change nothing but the cost."""
  for i, row in enumerate(routed):
    plan = tuple(map(bool, row['plan']))
    want = fixed[plan][i]
    assert row['answer'] == want['answer'] and row['index'] == i
    assert row['score'] == want['score']


@pytest.mark.parametrize('chunk', [5, 11])
def test_routed_answers_do_not_depend_on_the_chunk(ask, routed, chunk):
  """Groups of one plan have other sizes then, filled up with repeats."""
  assert ask(ROUTER, chunk=chunk) == routed


def test_costs_are_of_real_tokens_and_the_router_pays_for_itself(routed, fixed):
  """Padding is free, routing is not."""
  for i, row in enumerate(routed):
    plan = tuple(map(bool, row['plan']))
    text = 1 + len(row['question'].split())  # `user` and the question
    unrouted = flops.cost(MODEL.architecture, plan, 10, text)
    routed_ = flops.cost(MODEL.architecture, plan, 10, text, routing=1)
    assert fixed[plan][i]['llm_prefill_flops'] == unrouted.llm_prefill
    assert row['llm_prefill_flops'] == unrouted.llm_prefill + routed_.routing
    assert routed_.routing > 0


def test_what_was_answered_is_not_asked_again(ask, tmp_path, monkeypatch):
  """A run that was cut off loses at most a chunk."""
  one = plans.Selection('fixed', VIABLE[0])
  first = ask(one, chunk=8, folder=tmp_path)
  asked, ask_model = [], run._ask
  monkeypatch.setattr(
    run,
    '_ask',
    lambda under_test, stream, numbers, *rest: (
      asked.append(numbers[0]) or ask_model(under_test, stream, numbers, *rest)
    ),
  )
  assert ask(one, chunk=8, folder=tmp_path) == first and not asked
  (lost,) = tmp_path.glob('*/8-16.jsonl')
  lost.unlink()
  assert ask(one, chunk=8, folder=tmp_path) == first and asked == [8]
  # Another plan has files of its own.
  ask(plans.Selection('fixed', VIABLE[1]), chunk=8, folder=tmp_path)
  assert asked == [8, 0, 8]


@pytest.mark.parametrize(
  'spoil',
  [
    lambda text: '',
    lambda text: text[: len(text) // 2],
    lambda text: ''.join(text.splitlines(True)[1:]),
    lambda text: ''.join(text.splitlines(True)[::-1]),
    lambda text: text.replace('"index": 9', '"index": 90'),
    lambda text: text + text.splitlines(True)[0],
    lambda text: text.replace('{', '[', 1),
    lambda text: text.replace('"score": 0.0', '"score": 1.0', 1),
    lambda text: text.replace('"score": 0.0', '"score": NaN', 1),
  ],
)
def test_a_chunk_that_is_not_what_was_asked_is_asked_again(
  spoil, ask, tmp_path, capsys
):
  """Else the answers of two plans would be of different questions."""
  one = plans.Selection('fixed', VIABLE[0])
  first = ask(one, chunk=8, folder=tmp_path)
  (chunk,) = tmp_path.glob('*/8-16.jsonl')
  text = chunk.read_text()
  chunk.write_text(spoil(text))
  assert spoil(text) != text
  assert ask(one, chunk=8, folder=tmp_path) == first
  assert chunk.read_text() == text
  assert f'{chunk} is not what was written' in capsys.readouterr().out


@pytest.mark.parametrize(
  'spoil',
  [
    lambda text: '',
    lambda text: text[: len(text) // 2],
    lambda text: ''.join(text.splitlines(True)[1:]),
    lambda text: ''.join(text.splitlines(True)[::-1]),
    lambda text: text + text.splitlines(True)[0],
    lambda text: text.replace('"score": 0.0', '"score": NaN', 1),
    lambda text: text.replace('"score": 0.0', '"score": "0"', 1),
  ],
)
def test_a_torn_chunk_without_its_hash_is_asked_again_too(spoil, ask, tmp_path):
  one = plans.Selection('fixed', VIABLE[0])
  first = ask(one, chunk=8, folder=tmp_path)
  (chunk,) = tmp_path.glob('*/8-16.jsonl')
  text = chunk.read_text()
  (tmp_path / 'min/8-16.jsonl.sha256').unlink()
  chunk.write_text(spoil(text))
  assert ask(one, chunk=8, folder=tmp_path) == first
  assert chunk.read_text() == text


class Crowded(digits.Suite):
  """Some questions do not fit."""

  too_long = (1, 8, 9, 10, 11, 12, 13, 14, 15)

  def fit(self, stream, count):
    fit = super().fit(stream, count)
    too_long = tuple(n for n in self.too_long if n < count)
    return dataclasses.replace(fit, too_long=too_long)

  def prompt(self, stream, index):
    assert index not in self.too_long
    return super().prompt(stream, index)


def test_what_does_not_fit_is_not_asked(ask, subject, fixed, tmp_path):
  """And kept answers are completed where more of it does."""
  one = plans.Selection('fixed', VIABLE[1])
  crowded = dataclasses.replace(subject, suite=Crowded(4))
  answers = ask(one, chunk=4, folder=tmp_path, under_test=crowded)
  assert [a['index'] for a in answers] == [0, 2, 3, 4, 5, 6, 7]
  assert answers == [fixed[VIABLE[1]][a['index']] for a in answers]
  assert ask(one, chunk=4, folder=tmp_path) == fixed[VIABLE[1]]


def test_smaller_images_save_against_the_base_on_all_of_theirs(ask, subject):
  """The same questions are asked, and cost what is left of their images."""
  clips = digits.Suite(4, frames=2)
  smaller = dataclasses.replace(
    subject,
    model=MODEL.with_reduction('resize:40'),
    suite=clips.reprocessed(lambda one: one.resized(40)),
  )
  base = plans.Selection('base')
  (row,) = ask(base, count=1, batch=1, under_test=smaller)
  _, example = clips.prompt('test', 0)
  assert row['question'] == example.turns[0].question
  text = 2  # user and family
  cost, of_all = (
    flops.cost(MODEL.architecture.base, None, visual, text, tiles=tiles)
    for visual, tiles in ((5, 1), (20, 2))
  )
  assert row['llm_prefill_flops'] == cost.llm_prefill
  assert row['vision_flops'] == cost.vision + cost.connector
  assert row['base_prefill_flops'] == of_all.llm_prefill
