"""The grammar of token reduction."""

import fractions

import pytest

from tests import config_test
from tests import rows
from visor_jax.jobs import validate
from visor_jax.reduction import fastv
from visor_jax.reduction import grammar
from visor_jax.reduction import method
from visor_jax.reduction import pyramiddrop
from visor_jax.reduction import table


def one(text):
  return grammar.parse(text)[0]


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
    'resize:768',
    'shortv:0,2-3,9',
    'vskip:4',
    'dop:4:6',
    'resize:1000000',
  ],
)
def test_written_as_read(text):
  assert '+'.join(map(str, grammar.parse(text))) == text


def test_nothing_is_nothing():
  assert grammar.parse('') == ()
  keeps_all = grammar.single('')
  assert str(keeps_all) == '' and keeps_all.layers(24) == ()
  assert keeps_all.slots(729, 1, (27, 27)) == 729


def test_every_method_is_named_as_in_the_table():
  assert {n: m.name for n, m in table.METHODS.items()} == {
    n: n for n in table.METHODS
  }


def test_published_settings_are_shares():
  """54 dominant tokens and 10 averages of 576, and so on at any size."""

  def tokens(name):
    return one(name).slots(576, 1, (24, 24))

  for n in (64, 128, 192):
    assert tokens(f'visionzip-{n}') == n
  for n in (32, 64, 128, 192):
    assert tokens(f'vispruner-{n}') == n
  for n in (576, 144, 36, 9, 1):
    assert tokens(f'm3-{n}') == n
  assert one('visionzip-64').slots(729, 1, (27, 27)) == 81
  half = fractions.Fraction(1, 2)
  assert one('fastv') == fastv.FastV(2, half)
  assert one('fastv').layers(32) == (1, 2)
  assert one('pyramiddrop') == pyramiddrop.PyramidDrop(half)
  assert one('pyramiddrop').layers(32) == (8, 16, 24)


@pytest.mark.parametrize(
  'text', ['visionzip:0.01', 'hired:0.01', 'cdpruner:1/30', 'random:1/21']
)
def test_no_question_loses_its_image(text):
  row = method.Row(rows.tiny(rows.plans.visor(4)).size, 20, text=5, tiles=1)
  with pytest.raises(ValueError, match='none of 20 visual tokens.* 1/20'):
    one(text).tokens_of_layer(row)


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
    ('shortv:2-1', 'names no layers'),
    ('shortv:', 'names no layers'),
    ('dop:4', 'dop:ATTENTION:MLP'),
    ('shortv:0.5', 'looked for by an eval job'),
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
    (dict(eval__reduce='shortv:24', eval__plans='base'), 'layers 0 to 23'),
    (dict(eval__reduce='dop:3:25', eval__plans='base'), 'has 24 layers'),
    (dict(eval__reduce='vskip:0.5'), 'eval.reduce has "vskip:0.5"'),
    (dict(model__reduce='vskip:0.5'), 'name them here'),
    (dict(model__reduce='resize:768'), 'resize:768.* is for answers'),
    (dict(eval__reduce='fastv:24:0.5', eval__plans='base'), 'layers 1 to 23'),
  ],
)
def test_what_cannot_go_together_is_said(values, words):
  with pytest.raises(ValueError, match=words):
    validate.validate(config_test.make(**values))


def test_what_goes_together():
  validate.validate(
    config_test.make(
      model__size='digits',
      model__reduce='m3:1+m3:2',
      eval__reduce='fastv+pack:2',
      eval__plans='base',
    )
  )
  validate.validate(
    config_test.make(model__size='digits', model__reduce='pack:2')
  )
