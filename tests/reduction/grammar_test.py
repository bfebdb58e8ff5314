"""The grammar of token reduction, and what a method costs."""

import dataclasses
import fractions

import pytest

from tests import config_test
from tests import flops_test
from visor_jax.flops import cost as flops
from visor_jax.jobs import validate
from visor_jax.reduction import grammar
from visor_jax.spec import plan as plans

one = lambda text: grammar.parse(text)[0]


@pytest.mark.parametrize(
  'text',
  [
    'visionzip:0.25',
    'vispruner:1/9',
    'pack:4',
    'm3:2',
    'fastv:2:0.5',
    'pyramiddrop:1/3',
    'm3:1+m3:2+m3:4',
  ],
)
def test_written_as_read(text):
  assert '+'.join(map(str, grammar.parse(text))) == text


def test_nothing_is_nothing():
  assert grammar.parse('') == ()


def test_published_settings_are_shares():
  """54 dominant tokens and 10 averages of 576, and so on at any size."""
  tokens = lambda name: one(name).slots(576, 1, (24, 24))
  for n in (64, 128, 192):
    assert tokens(f'visionzip-{n}') == n
  for n in (32, 64, 128, 192):
    assert tokens(f'vispruner-{n}') == n
  for n in (576, 144, 36, 9, 1):
    assert tokens(f'm3-{n}') == n
  assert one('visionzip-64').slots(729, 1, (27, 27)) == 81
  half = fractions.Fraction(1, 2)
  assert one('fastv').cuts(32) == (grammar.Cut(1, 2, half),)
  assert one('pyramiddrop').cuts(32) == tuple(
    grammar.Cut(at, at, half) for at in (8, 16, 24)
  )


@pytest.mark.parametrize(
  'text,words',
  [
    ('visionzap:0.5', 'expected one of visionzip, vispruner'),
    ('visionzip', 'and one number'),
    ('visionzip:0', 'is no share'),
    ('visionzip:1.5', 'is no share'),
    ('vispruner:1/0', 'is no share'),
    ('pack:half', 'no whole number'),
    ('m3:0', 'no whole number'),
    ('fastv:0.5', 'fastv:LAYER:SHARE'),
    ('fastv:0:0.5', 'no whole number'),
  ],
)
def test_what_cannot_be_read_is_said(text, words):
  with pytest.raises(ValueError, match=f'"{text}".*{words}'):
    grammar.parse(text)


@pytest.mark.parametrize(
  'values,words',
  [
    (dict(model__reduce='fastv:2:0.5'), 'model.reduce has "fastv:2:0.5"'),
    (dict(eval__reduce='fastv:2:0.5'), 'eval.reduce has "fastv:2:0.5"'),
    (dict(eval__reduce='m3'), 'one number'),
    (dict(eval__reduce='fastv:24:0.5', eval__plans='base'), 'layers 1 to 23'),
  ],
)
def test_what_cannot_go_together_is_said(values, words):
  with pytest.raises(ValueError, match=words):
    validate.validate(config_test.make(**values))


def test_what_goes_together():
  validate.validate(
    config_test.make(
      model__reduce='m3:1+m3:2', eval__reduce='fastv+pack:2', eval__plans='base'
    )
  )
  validate.validate(config_test.make(model__reduce='pack:2'))


# Cost -------------------------------------------------------------------------

CASES = {
  'plain': flops_test.Case(depth=5),
  'no tower, unscanned': flops_test.Case(
    depth=4, vision_depth=0, scan=False, last_visual=False
  ),
  'chunks': flops_test.Case(depth=7, chunk=4, vision_depth=2, routing=5),
}


def reduced(case, text):
  """The case with a model that reduces."""
  made = dataclasses.replace(case)
  # Parameters are those of a model without; both are cached on the case.
  made.__dict__['inputs'] = case.inputs
  made.__dict__['model'] = case.model.with_reduction(text)
  return made


@pytest.mark.parametrize(
  'case,text',
  [
    *(
      (case, text)
      for case in ('plain', 'chunks')
      for text in (
        'visionzip:1/2',
        'vispruner:0.4',
        'm3:2',
        'fastv:2:1/3',
        'pyramiddrop:0.5',
      )
    ),
    ('plain', 'pack:2'),
    ('no tower, unscanned', 'fastv:1:1/2'),
    ('no tower, unscanned', 'visionzip:0.4'),
  ],
)
def test_executed_is_the_program(case, text):
  """To the last product, rating included; of the base and, before, of plans."""
  case = reduced(CASES[case], text)
  chosen = case.model.reduction
  plans_ = (None, case.model.layout.max) if chosen.early else (None,)
  for plan in plans_:
    program = case.trace(lambda module, batch: module(batch, plan))
    cost = case.cost(plan, raters=case.routing)
    assert 2 * flops_test.macs(program) == flops_test.B * cost.total, plan
    assert (cost.rating > 0) == (chosen.method not in ('pack', 'm3'))


def test_executed_is_the_router_mode():
  case = reduced(CASES['chunks'], 'visionzip:1/2')
  program = case.trace(
    lambda module, batch: flops_test.route_and_finish(
      module, batch, case.model.layout.max
    )
  )
  assert (
    2 * flops_test.macs(program)
    == flops_test.B
    * case.cost(case.model.layout.max, routing=case.routing).total
  )


def test_nominal_by_hand():
  """LLaVA-OneVision 0.5B, one tile: FastV sees half from layer 2 on."""
  of = lambda text, visual=729: flops.cost(
    flops_test.released('0.5b', reduction=text), None, visual, 60
  )
  layer = lambda visual: of('', visual).layers // 24
  fastv = of('fastv')
  assert fastv.layers == 2 * layer(729) + 22 * layer(364)
  assert fastv.rating == 2 * (
    896 * 896 + 789 * (896 * 128 + 896)
  )  # a query; keys, and scores, of all
  pyramid = of('pyramiddrop')
  assert pyramid.layers == 6 * sum(map(layer, (729, 364, 182, 91)))
  zipped = of('visionzip-64')
  assert zipped.layers == 24 * layer(81)
  assert zipped.rating == 2 * (729**2 * 1152 + 729 * 81 * 72)
  assert of('m3:3').llm_prefill == 24 * layer(81)
  assert of('pack:2').llm_prefill == 24 * layer(364)


def test_what_is_dropped_is_not_kept():
  layout = plans.visor(24)
  of = lambda plan, text: flops.cache(
    flops_test.released('0.5b', reduction=text), plan, 800, 60, 2
  )
  each = 2 * 64 * 2 * 2
  assert of(None, 'fastv')[1] == each * (2 * 800 + 22 * 400)
  assert of(layout.max, 'pack:4')[1] == each * 16 * 200


def test_inside_goes_with_the_base_alone():
  layout = plans.visor(24)
  with pytest.raises(ValueError, match='plan base alone'):
    flops.cost(flops_test.released('0.5b', reduction='fastv'), layout.max, 9, 9)
