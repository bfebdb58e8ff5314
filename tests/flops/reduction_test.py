"""What a token reduction costs: against the program and by hand."""

import subprocess
import sys

import pytest

from tests import multiply_adds
from tests.flops import cost_test
from visor_jax.flops import cost as flops
from visor_jax.spec import plan as plans

CASES = {
  'plain': cost_test.Case(depth=5),
  'no tower, unscanned': cost_test.Case(
    depth=4, vision_depth=0, scan=False, last_visual=False
  ),
  'chunks': cost_test.Case(depth=7, chunk=4, vision_depth=2, routing=5),
}


UNRATED = 'pack', 'm3', 'random', 'shortv', 'vskip', 'dop', 'eemllm'


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
    ('plain', 'divprune:1/2'),
    ('plain', 'random:1/2'),
    ('plain', 'cdpruner:1/2'),
    ('plain', 'shortv:1-2,4'),
    ('plain', 'vskip:0,3'),
    ('plain', 'dop:2:4'),
    ('plain', 'eemllm'),
    ('plain', 'hired:1/2'),
    ('plain', 'sparsevlm:0-2:0.7,1/2,0.7'),
    ('chunks', 'sparsevlm:1,4:1/2,1/6'),
    ('chunks', 'shortv:0-5'),
    ('no tower, unscanned', 'fastv:1:1/2'),
    ('no tower, unscanned', 'visionzip:0.4'),
  ],
)
def test_executed_is_the_program(case, text):
  """To the last product, rating included; of the base and, before, of plans."""
  case = cost_test.reduced(CASES[case], text)
  chosen = case.model.reduction
  plans_ = (
    (None,) if chosen.base_alone(case.depth) else (None, case.model.layout.max)
  )
  for plan in plans_:
    program = case.trace(lambda module, batch: module(batch, plan))
    cost = case.cost(plan, raters=case.routing)
    assert 2 * multiply_adds.macs(program) == cost_test.B * cost.total, plan
    assert (cost.rating > 0) == (chosen.name not in UNRATED), plan


def test_executed_is_the_router_mode():
  case = cost_test.reduced(CASES['chunks'], 'visionzip:1/2')
  program = case.trace(
    lambda module, batch: cost_test.route_and_finish(
      module, batch, case.model.layout.max
    )
  )
  assert (
    2 * multiply_adds.macs(program)
    == cost_test.B
    * case.cost(case.model.layout.max, routing=case.routing).total
  )


def test_nominal_by_hand():
  """LLaVA-OneVision 0.5B, one tile: FastV sees half from layer 2 on."""

  def of(text, visual=729):
    return flops.cost(
      cost_test.released('0.5b', reduction=text), None, visual, 60
    )

  def layer(visual):
    return of('', visual).layers // 24

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
  frozen = of('shortv:4-23').layers - 4 * layer(729)
  text = of('', 0).layers // 24
  keys, pairs = 729 * 896 * 2 * 128, 60 * 729 * 2 * 896
  assert frozen == 20 * (text + 2 * (keys + pairs))
  assert of('m3:3').llm_prefill == 24 * layer(81)
  assert of('pack:2').llm_prefill == 24 * layer(364)


def test_what_is_dropped_is_not_kept():
  layout = plans.visor(24)

  def of(plan, text):
    return flops.cache(
      cost_test.released('0.5b', reduction=text), plan, 800, 60, 2
    )

  each = 2 * 64 * 2 * 2
  assert of(None, 'fastv')[1] == each * (2 * 800 + 22 * 400)
  assert of(layout.max, 'pack:4')[1] == each * 16 * 200


def test_inside_goes_with_the_base_alone():
  layout = plans.visor(24)
  with pytest.raises(ValueError, match='plan base alone'):
    flops.cost(cost_test.released('0.5b', reduction='fastv'), layout.max, 9, 9)


NO_JAX = """
import sys
sys.modules['jax'] = sys.modules['numpy'] = None
from visor_jax.flops import cost
from visor_jax.reduction import grammar, table
from visor_jax.families import table as families
from visor_jax.spec import architecture, plan
_, size = families.named_size('0.5b', ())
texts = [
  *grammar.published(), 'pack:2', 'divprune:1/9', 'random:1/9', 'cdpruner:1/9',
  'resize:384', 'pixelprune', 'eemllm',
  'shortv:9-23', 'vskip:9-23', 'dop:4:9'
]
for text in texts:
  model = architecture.Architecture(size, plan.base(24), reduction=text)
  assert cost.cost(model, None, 729, 60).total
  cost.decode(model, None, 729, 60, 9), cost.cache(model, None, 729, 60, 2)
methods = {type(grammar.single(text)) for text in texts}
print(sorted(set(table.METHODS.values()) - methods, key=str))
"""


def test_costs_of_all_methods_need_no_jax():
  """A table of costs is made on a laptop."""
  run = subprocess.run(
    [sys.executable, '-c', NO_JAX], capture_output=True, text=True
  )
  assert run.returncode == 0, run.stderr
  assert run.stdout == '[]\n'
