"""How fast a step can be: by hand."""

import ml_collections
import pytest

from tests import tiny
from visor_jax.flops import cost as flops
from visor_jax.preflight import compiler
from visor_jax.preflight import hlo
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import roofline
from visor_jax.spec import chips
from visor_jax.spec import plan as plans
from visor_jax.training import throughput

CHIP = chips.Chip(flops=100.0, bandwidth=10.0, link=4.0, network=1.0)


def count(flops=0.0, moved=0.0, sent=0.0, between=0.0):
  return hlo.Count(flops, moved, {('all-gather', 'fsdp'): sent}, between)


@pytest.mark.parametrize(
  'counted,seconds',
  [
    (count(flops=300), 3),
    (count(flops=300, moved=50), 5),
    (count(flops=300, moved=50, sent=28), 7),
    # Nine bytes of 28 go between hosts.
    (count(flops=300, moved=50, sent=28, between=9), 9),
  ],
)
def test_a_step_takes_as_long_as_the_slowest(counted, seconds):
  assert roofline.bound(counted, None, CHIP).seconds == seconds
  assert roofline.bound(counted, None, CHIP).mfu is None
  assert roofline.bound(counted, 150, CHIP).mfu == 1.5 / seconds


def test_utilisation_never_exceeds_one():
  """Though no FLOPs of a kernel were counted."""
  bound = roofline.bound(count(flops=1), 500, CHIP)
  assert bound.seconds == 5 and bound.mfu == 1


def test_a_share_of_steps_is_dearer():
  most = roofline.bound(count(flops=400, moved=10), None, CHIP)
  least = roofline.bound(count(flops=100, moved=20), None, CHIP)
  assert least.towards(most, 0) == 2
  assert least.towards(most, 1) == 4
  assert least.towards(most, 0.5) == 2.5


@pytest.mark.parametrize(
  'plan,max_share,share',
  [
    ('max', 0.0, 1),
    ('min', 0.0, 0),
    ('base', 0.0, 1),
    ('0', 0.0, 0.5),
    ('viable', 0.0, 0.5),
    ('viable', 0.5, 0.75),
  ],
)
def test_which_share_of_the_optional_layers_runs(plan, max_share, share):
  layout = plans.Layout((plans.CROSS, *3 * (plans.SELF,)), optional=(1, 3))
  options = ml_collections.ConfigDict(dict(plan=plan, max_share=max_share))
  assert roofline.share_on(options, layout) == share


@pytest.mark.parametrize(
  'stage,passes', [('full', (3, 3)), ('cross', (1, 2)), ('policy', None)]
)
def test_what_is_useful_of_a_step(stage, passes):
  """The rows of a device, by the formula of the loop."""
  config = tiny.get_config()
  config[stage].steps, config.full.batch = 1, 8
  program = compiler.train_program(config, stage, machine_lib.describe('cpu:2'))
  layout = program.model.layout
  useful = roofline.useful_flops(program, 0, layout.max)
  if passes is None:
    assert useful is None
    return
  batch = program.arguments()[1].batch
  row = flops.cost(
    program.model.architecture,
    layout.max,
    batch.gather_index.shape[1],
    batch.tokens.shape[1],
    throughput.ACCOUNTING,
    tiles=batch.tiles.shape[1],
  )
  a, b = passes
  rows = config[stage].batch / 2
  assert useful == rows * (
    a * (row.vision + row.connector) + b * row.llm_prefill
  )
