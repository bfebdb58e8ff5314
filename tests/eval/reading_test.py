"""Images read once: the answers are those of who reads them every time."""

import dataclasses

import numpy as np
import pytest

from tests import llava
from tests import trained as trained_lib
from visor_jax.eval import pieces
from visor_jax.flops import cost as flops

# All of one shape: few programs are to be compiled.
PAGES = [llava.picture(45, 62), llava.picture(30, 90, 1)]
ASKED = (
  'What is it?',
  'How many are there, and of which colour are those on the left?',
  'Why?',
)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  folder = tmp_path_factory.mktemp('llava') / 'hf'
  llava.Oracle(folder, tied=False, text=dict(num_hidden_layers=6))
  return trained_lib.in_memory(folder)


def plain(answer):
  """An answer, but for what it took."""
  return dataclasses.replace(
    answer, seconds=0, ran_vision_flops=0, ran_prefill_flops=0
  )


def same(model, reading, images, question, **options):
  """Asserts that a reading answers as `generate`; returns its answer."""
  got = reading.ask(question, max_new_tokens=8, **options)
  want = model.generate(images, question, max_new_tokens=8, **options)
  assert plain(got) == plain(want) and got.text
  return got


@pytest.mark.parametrize('plan', ['base', '0', 'router'])
def test_answers_are_those_of_generate(model, plan):
  """Of every question, one after the other; only the first pays the image."""
  reading = model.read(PAGES)
  first, *others = (
    same(model, reading, PAGES, question, plan=plan) for question in ASKED
  )
  assert first.ran_vision_flops > 0
  assert first.ran_prefill_flops == first.llm_prefill_flops
  architecture = model.model.architecture
  for answer in others:
    assert answer.ran_vision_flops == 0
    known = range(architecture.depth)
    if answer.plan != first.plan:  # the router's layers alone
      known = range(architecture.before_self)
    assert answer.ran_prefill_flops == flops.llm_prefill(
      architecture,
      answer.plan,
      answer.visual_tokens,
      answer.text_tokens,
      known,
      routing=int(plan == 'router'),
    )


def test_plans_take_turns(model):
  """What one left is not in the way of another."""
  reading = model.read(PAGES)
  plans = ('0', 'router', 'base', 'min', 'router', 'max', '0', 'base')
  for number, plan in enumerate(plans):
    same(model, reading, PAGES, ASKED[number % 3], plan=plan)


@pytest.mark.parametrize('plan', ['min', '0'])
def test_text_before_images_counts(model, plan):
  """Several images, and markers in the question: others, then the same."""
  reading = model.read(PAGES)
  marked = ('Is <image> or <image> red?', 'Or is it <image>? Or <image>?')
  asked = [ASKED[0], ASKED[1], marked[0], marked[0], marked[1], ASKED[0]]
  took = [
    same(model, reading, PAGES, question, plan=plan).ran_vision_flops
    for question in asked
  ]
  assert [x > 0 for x in took] == [True, False, True, False, True, True]


def test_no_image_is_an_image_that_is_read(model):
  reading = model.read([])
  for question in ASKED:
    same(model, reading, [], question, plan='min')


def test_turns_follow_one_another(model):
  """A third question is a fresh reading's with the same history."""
  reading, history = model.read(PAGES), []
  for question in ASKED:
    got = reading.ask(question, plan='0', history=history, max_new_tokens=8)
    fresh = model.read(PAGES).ask(
      question, plan='0', history=history, max_new_tokens=8
    )
    assert plain(got) == plain(fresh)
    assert (got.ran_vision_flops == 0) == bool(history)
    history.append((question, got.text or '?'))
  alone = model.read(PAGES).ask(ASKED[-1], plan='0', max_new_tokens=8)
  assert alone.text_tokens < got.text_tokens


def test_a_prefix_stands_in_front(model):
  prefix = 'In one word. '
  reading = model.read(PAGES, prefix)
  for question in ASKED[:2]:
    got = reading.ask(question, plan='0', max_new_tokens=8)
    want = model.generate(PAGES, prefix + question, '0', max_new_tokens=8)
    assert plain(got) == plain(want)


def logits(model, reading, question, plan):
  """Of the prompt's last token, as the reading has them."""
  selection = model.asked.choice.parse(plan)
  prompt = reading.prompt(question, {}, 1)
  (last, _), _, _ = reading.prefill(prompt, selection)
  return np.asarray(last[0])


@pytest.mark.parametrize('plan', ['base', 'min', '0'])
def test_logits_are_those_of_who_reads_anew(model, plan):
  """Where a SELF layer runs, products have other shapes: within rounding."""
  reading = model.read(PAGES)
  for question in ASKED:
    got = logits(model, reading, question, plan)
    want = logits(model, model.read(PAGES), question, plan)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * abs(want).max())


@pytest.mark.parametrize(
  'method,plan', [('fastv:2:1/2', 'base'), ('cdpruner:1/2', 'router')]
)
def test_a_reduction_drops_what_the_question_says(model, method, plan):
  """Visual tokens are rated by the question: they are chosen anew."""
  fewer = dataclasses.replace(model, model=model.model.with_reduction(method))
  reading = fewer.read(PAGES)
  for question in ASKED[:2]:
    got = same(fewer, reading, PAGES, question, plan=plan)
    assert got.ran_prefill_flops == got.llm_prefill_flops


@pytest.mark.parametrize('plan', ['base', 'router'])
def test_a_stream_is_the_text(model, plan):
  texts = []
  stream = model.stream(PAGES, ASKED[1], plan=plan, max_new_tokens=8)
  answer = pieces.drain(stream, texts.append)
  want = model.generate(PAGES, ASKED[1], plan, max_new_tokens=8)
  assert ''.join(texts) == answer.text == want.text and len(texts) > 1
  assert plain(answer) == plain(want)


def test_an_option_that_is_none_is_named(model):
  with pytest.raises(TypeError, match='temprature'):
    model.read([]).ask('Hm?', temprature=1.0)
  with pytest.raises(ValueError, match='max_new_tokens is 0'):
    model.read([]).ask('Hm?', max_new_tokens=0)
