"""Tokens from a cache are those of the model that reads everything anew."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.eval import costs
from visor_jax.eval import generate
from visor_jax.eval import plan_groups
from visor_jax.eval import sampling as sampling_lib
from visor_jax.flops import cost as flops
from visor_jax.models import cross_attention
from visor_jax.models import visibility
from visor_jax.spec import architecture
from visor_jax.spec import plan as plans

TOKENS = 5
SHAPE = rows.Shape(text=9, visual=8, tiles=2, prompts=2)
# The image in the middle, two images, none, and prompts of other lengths.
FIGURES = ('tvvvtp', 'ttvvtvvttp', 'tttp', 'vvvvvp')
BATCH = rows.batch(*((f,) for f in FIGURES), shape=SHAPE)
LAYOUTS = {
  'period of three': plans.visor(7),
  'self side by side': plans.visor(6, (1, 4), (2, 3)),
  'all kinds first': plans.visor(5, (0,), (1, 2, 4)),
}
END = 3  # a token that a row may well say
sampling = functools.partial(sampling_lib.Sampling, TOKENS, (END,))


def tiny(layout, **kwargs):
  return rows.tiny(layout, **{'chunk': 4} | kwargs)


def uncached(model, params, figure, plan):
  """Greedy tokens, the whole sequence read again for each; and its logits."""
  logits, tokens = [], []
  if isinstance(figure, str):
    figure = rows.same(figure, figure)
  batch = rows.batch(
    (figure,), shape=dataclasses.replace(SHAPE, text=SHAPE.text + TOKENS)
  )
  end = int((batch.text_segment[0] > 0).sum())
  place = len(figure.figure)
  text = np.arange(batch.tokens.shape[1])
  for i in range(TOKENS):
    out = (
      rows.logits(model, None)(params, batch)
      if plan is None
      else rows.logits(model)(params, batch, np.array(plan))
    )[0, end - 1 + i]
    logits.append(out)
    tokens.append(int(np.argmax(out)))
    # The token takes the next slot and the next place; padding moves up.
    batch.tokens[0, end + i] = tokens[-1]
    batch.text_segment[0, end + i] = 1
    batch.text_place[0, end:] = place + text[: len(text) - end]
  return tokens, np.array(logits)


@functools.cache
def _prefill(model, plan):
  return rows.jit(
    lambda params, batch: model.apply(
      {'params': params}, batch, plan, method='prefill'
    )
  )


@functools.cache
def _decode(model, plan):
  return rows.jit(
    lambda params, *args: model.apply(
      {'params': params}, args[0], args[1], plan, *args[2:], method='decode'
    )
  )


@pytest.mark.parametrize(
  'name',
  [
    'self side by side',
    'all kinds first',
    pytest.param('period of three', marks=pytest.mark.drill),
  ],
)
def test_cached_equals_uncached(name):
  """Logits of every new token, for every kind of plan."""
  layout = LAYOUTS[name]
  model = tiny(layout, scan=name != 'self side by side')
  params = rows.params(model)
  few_plans = (None, layout.min, layout.max, layout.plans[1])
  for plan in dict.fromkeys(few_plans):
    want = [uncached(model, params, f, plan) for f in FIGURES]
    logits, memory = _prefill(model, plan)(params, BATCH)
    fresh = model.apply(
      {'params': params}, len(FIGURES), TOKENS, method='init_decode_cache'
    )
    for i in range(TOKENS):
      rows.close(logits, np.stack([w[i] for _, w in want]))
      token = jnp.array([tokens[i] for tokens, _ in want])
      logits, fresh = _decode(model, plan)(params, token, memory, fresh, i)


def test_a_plug_in_keeps_what_it_likes():
  """A CROSS module's keys may be any pytree; here, one array."""

  class Mean(cross_attention.DotProductAttention):
    def keys(self, visual, slots, position):
      return {'image': visual}

    def __call__(self, text, keys, slots, visual_slots, position, attend):
      sees = visibility.visible(slots, visual_slots).astype(text.dtype)
      return sees @ keys['image'] / 4

  cross_attention.CROSS['mean'] = Mean
  try:
    layout = plans.visor(3)
    model = tiny(layout, cross_options=architecture.CrossOptions(module='mean'))
    params = rows.params(model)
    generated = generate.decode(
      model,
      params,
      BATCH,
      *generate.prefill(model, params, BATCH, layout.max),
      layout.max,
      sampling(),
      jax.random.key(0),
    )
    for row, figure in zip(np.asarray(generated), FIGURES):
      want = uncached(model, params, figure, layout.max)[0]
      assert row.tolist() == until_end(want)
  finally:
    del cross_attention.CROSS['mean']


def until_end(tokens):
  """What follows the end is the end."""
  cut = tokens.index(END) if END in tokens else TOKENS
  return tokens[:cut] + [END] * (TOKENS - cut)


LAYOUT = plans.visor(6)
MODEL = tiny(LAYOUT)
PARAMS = rows.params(MODEL)
KEY = jax.random.key(5)


def ask(selection, batch=4, count=11, **kwargs):
  """{id: (plan, tokens)} of `count` prompts, `batch` at a time."""

  def batches():
    for first in range(0, count, batch):
      ids = [i if i < count else None for i in range(first, first + batch)]
      yield (
        ids,
        rows.batch(
          *((rows.Segment(FIGURES[(i or 0) % 4], i or 0),) for i in ids),
          shape=SHAPE,
        ),
      )

  answers = {}
  for ids, plan, tokens in generate.answers(
    MODEL, PARAMS, batches(), selection, sampling(), KEY, LAYOUT.plans, **kwargs
  ):
    assert None not in ids and not answers.keys() & set(ids)
    answers |= {i: (plan, t.tolist()) for i, t in zip(ids, tokens)}
  assert sorted(answers) == list(range(count))
  return answers


def test_answers_end_where_the_model_ends():
  """Greedy; a row that is done says nothing more while others go on."""
  generated = ask(plans.Selection('fixed', LAYOUT.max), count=4)
  for i, figure in enumerate(FIGURES):
    tokens, _ = uncached(MODEL, PARAMS, rows.Segment(figure, i), LAYOUT.max)
    assert generated[i][1] == until_end(tokens)


@pytest.mark.parametrize(
  'batch', [3, pytest.param(16, marks=pytest.mark.drill)]
)
def test_routed_answers_are_those_of_the_plan(batch):
  """Grouped by plan, in batches of any size: the answer is the plan's own."""
  routed = ask(plans.Selection('router'), batch, confidence=None)
  assert len({plan for plan, _ in routed.values()}) > 1
  for plan in LAYOUT.plans:
    fixed = ask(plans.Selection('fixed', plan))
    for i, (chosen, tokens) in routed.items():
      if chosen == plan:
        assert tokens == fixed[i][1]


def test_rows_that_wait_are_bounded(monkeypatch):
  """With no room at all, every batch goes on with what it has."""
  formed, resume = [], generate.resume

  def count(*args):
    formed.append(args)
    return resume(*args)

  monkeypatch.setattr(generate, 'resume', count)
  want = ask(plans.Selection('router'), count=24, confidence=None)
  packed = len(formed)
  monkeypatch.setattr(plan_groups, 'MAX_BYTES', 0)
  assert ask(plans.Selection('router'), count=24, confidence=None) == want
  assert len(formed) - packed > packed


def memory_of(model, plan):
  """What prefill gives, without running it."""
  return jax.eval_shape(
    lambda params, batch: model.apply(
      {'params': params}, batch, plan, method='prefill'
    ),
    rows.params(model),
    BATCH,
  )


@pytest.mark.parametrize('key_heads', ['base', 'full'])
def test_the_cache_is_the_closed_form(key_heads):
  model = tiny(
    LAYOUT, cross_options=architecture.CrossOptions(key_heads=key_heads)
  )
  for plan in (None, *LAYOUT.plans):
    _, memory = memory_of(model, plan)
    one = flops.cache(model.architecture, plan, SHAPE.visual, SHAPE.text, 4)
    b = len(FIGURES)
    assert costs.cache_bytes(memory) == (b * one[0], b * one[1])


def test_the_smallest_plan_keeps_a_third_of_the_base():
  """At the paper's depth and period."""
  layout = plans.visor(24)
  model = tiny(layout)
  bytes_of = lambda plan: costs.cache_bytes(memory_of(model, plan)[1])[1]
  assert bytes_of(layout.min) * 3 == bytes_of(None)
  assert bytes_of(layout.max) * 3 == bytes_of(None) * 2


def test_a_traced_plan_has_no_cache():
  with pytest.raises(ValueError, match='give the plan as a tuple'):
    MODEL.apply({'params': PARAMS}, BATCH, jnp.zeros(2, bool), method='prefill')


def test_the_base_has_no_router():
  _, routed = generate.route(MODEL, PARAMS, BATCH)
  with pytest.raises(ValueError, match='no router'):
    generate.resume(MODEL, PARAMS, routed, BATCH, None)
