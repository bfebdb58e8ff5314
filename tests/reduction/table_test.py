"""A method from outside: one class and one entry, nothing else."""

import dataclasses
import fractions

import jax
import numpy as np
import pytest

from tests import config_test
from tests import multiply_adds
from tests import rows
from tests.flops import cost_test
from visor_jax.flops import cost as flops
from visor_jax.jobs import validate
from visor_jax.reduction import grammar
from visor_jax.reduction import groups
from visor_jax.reduction import method
from visor_jax.reduction import table
from visor_jax.spec import plan as plans


@dataclasses.dataclass(frozen=True)
class Stride(method.Reduction):
  """toy:2:1/2: every second token; of these half from layer 1 on."""

  name = 'toy'
  published = {'toy-small': 'toy:4:1/4'}
  stride: int
  share: fractions.Fraction

  def slots(self, visual, tiles, grid):
    return -(-visual // self.stride)

  def before_decoder(self, tokens, patches):
    segment = tokens.token_layout.visual.segment
    stays = (groups.slot_numbers(segment) % self.stride == 0) & (segment > 0)
    return groups.keep(
      tokens, groups.compact(stays, self.slots(segment.shape[1], 0, (0, 0)))
    )

  def layers(self, depth):
    return (1,)

  def between_layers(self, layer, tokens, rate):
    return groups.keep_highest(tokens, rate(layer), self.share)

  def tokens_of_layer(self, row):
    first = self.slots(row.visual, row.tiles, row.size.vision.grid)
    rest = method.slots_for(first, self.share)
    return [first] + [rest] * (row.size.language.depth - 1)

  def rating_macs(self, row):
    return method.rate_macs(row, self.tokens_of_layer(row)[0])


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
  monkeypatch.setitem(table.METHODS, 'toy', Stride)


def test_it_is_read_and_written():
  (toy,) = grammar.parse('toy:2:0.5')
  assert toy == Stride(2, fractions.Fraction(1, 2)) and str(toy) == 'toy:2:0.5'
  assert str(grammar.single('toy-small')) == 'toy:4:0.25'
  with pytest.raises(ValueError, match='toy:STRIDE:SHARE.*two numbers'):
    grammar.parse('toy:2')
  with pytest.raises(
    ValueError, match='expected one of .*eemllm, .*, toy with'
  ):
    grammar.parse('tyo:2')


def test_a_model_runs_it_and_its_cost_is_the_programs():
  """Both hooks, to the last product; and layers get what it says."""
  case = cost_test.reduced(cost_test.Case(depth=4), 'toy:2:1/2')
  program = case.trace(lambda module, batch: module(batch, None))
  cost = case.cost(None, raters=case.routing)
  assert 2 * multiply_adds.macs(program) == cost_test.B * cost.total
  assert cost.rating > 0
  _, state = jax.eval_shape(
    lambda params, batch: case.model.apply(
      params, batch, None, method='prefill'
    ),
    *case.inputs,
  )
  seen = [at.visual.place.shape[1] for at in state.token_layouts]
  assert seen == [3, 1]  # of 6
  assert flops.cache(case.model.architecture, None, 6, 7, 4) < flops.cache(
    case.model.architecture.base, None, 6, 7, 4
  )


def test_the_decoder_gets_every_second_token():
  model = rows.tiny(plans.visor(3), reduction='toy:2:1/2')
  batch = rows.batch(('tvvvvtp',))

  def both(module):
    hidden, token_layout = module.prepare_inputs(batch)
    return hidden.visual, module.embed(batch).visual, token_layout

  fewer, visual, token_layout = rows.jit(
    lambda params: model.apply({'params': params}, method=both)
  )(rows.params(model))
  np.testing.assert_allclose(fewer[0, :2], visual[0, :4:2])
  # One text, then two of the four visual tokens, closing ranks.
  assert token_layout.visual.place[0, :2].tolist() == [1, 2]
  assert token_layout.visual_position[0, :2].tolist() == [1, 3]


def test_it_goes_with_the_base_alone():
  model = rows.tiny(plans.visor(3), reduction='toy:2:1/2')
  with pytest.raises(ValueError, match='"toy:2:0.5".*plan base alone'):
    jax.eval_shape(
      lambda p: model.apply({'params': p}, rows.batch(('tvp',)), (True,)),
      rows.params(model),
    )
  with pytest.raises(ValueError, match='eval.reduce has "toy:2:0.5"'):
    validate.validate(config_test.make(eval__reduce='toy:2:1/2'))
