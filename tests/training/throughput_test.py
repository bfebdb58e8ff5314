"""Rates are counted by hand."""

import jax
import pytest

from tests import rows
from visor_jax.flops import accounting
from visor_jax.flops import cost as flops
from visor_jax.models import visor
from visor_jax.spec import architecture
from visor_jax.spec import chips
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes
from visor_jax.training import throughput as throughput_lib

MODEL = visor.Visor(
  architecture.Architecture(
    sizes.Size(rows.VISION, rows.LANGUAGE), plans.visor(6)
  )
)
# (visual, text): (4, 5), (0, 3) and (2, 3); the last row is padding.
BATCH = rows.batch(('tvvvvtpaa', 'tpa'), ('vvtpa',), ())
# Two tiles and one; what padding says of more is noise.
BATCH.gather_index[0, :4, 0] = (0, 3, 6, 11)
BATCH.gather_index[0, :4, 1] = 5
BATCH.gather_index[1, :2] = 5
SIZES = ((4, 5), (0, 3), (2, 3))


def rates(clock, passes=(3, 3), share=1.0, plan=(True, False)):
  """Of two steps in four seconds, on devices that do 1e6 FLOPs a second."""
  throughput = throughput_lib.Throughput(MODEL, passes, share, peak=1e6)
  throughput.add(BATCH, plan)
  assert 'mfu' not in throughput.take()[1]  # compiling is no rate
  for _ in range(2):
    throughput.add(BATCH, plan)
  clock[0] += 4
  return throughput.take()


@pytest.fixture
def clock(monkeypatch):
  now = [7.0]
  monkeypatch.setattr(throughput_lib.time, 'monotonic', lambda: now[0])
  return now


@pytest.mark.parametrize('share', [1.0, 0.25])
def test_rates_are_those_of_all_processes(clock, share):
  padding, measured = rates(clock, share=share)
  assert measured['examples/s'] == 2 * 3 / 4 / share
  assert measured['tokens/s'] == 2 * 17 / 4 / share
  assert 0 < measured['memory_gb'] < 100
  slots = BATCH.text_segment.size, BATCH.visual_segment.size
  assert padding == dict(
    text_padding=round(1 - 11 / slots[0], 4),
    visual_padding=round(1 - 6 / slots[1], 4),
  )


@pytest.mark.parametrize('plan', [None, (True, False)])
@pytest.mark.parametrize('vision_passes,decoder_passes', [(3, 3), (1, 2)])
def test_utilisation_is_by_the_formula(
  clock, plan, vision_passes, decoder_passes
):
  """Padding, and what remat does again, is no use."""
  _, measured = rates(clock, (vision_passes, decoder_passes), plan=plan)
  counted = accounting.Accounting('', head='all')

  def cost(visual, text):
    return flops.cost(MODEL.architecture, plan, visual, text, counted, tiles=1)

  tile = cost(0, 1).vision + cost(0, 1).connector
  decoder = sum(cost(*s).llm_prefill for s in SIZES)
  used = 2 * (3 * vision_passes * tile + decoder_passes * decoder)
  assert measured['mfu'] == pytest.approx(
    used / 4 / 1e6 / jax.device_count(), rel=1e-3
  )


def test_a_stage_without_a_formula_has_none(clock):
  assert 'mfu' not in rates(clock, None)[1]


@pytest.mark.parametrize(
  'kind,peak',
  [
    ('TPU v5 lite', 197e12),
    ('TPU v5', 459e12),
    ('TPU v6 lite', 918e12),
    ('NVIDIA H100 80GB HBM3', 989e12),
    ('NVIDIA H100 PCIe', 756e12),
    ('TPU7x', 2307e12 / 2),  # a chip is two devices
    ('NVIDIA GH200 480GB', 990e12),
    ('NVIDIA H200', 989e12),
    ('NVIDIA B200', 2250e12),
    ('NVIDIA GB200', 2500e12),
    ('NVIDIA B300 SXM6 AC', 2250e12),
    ('AMD Instinct MI300X', 1307.4e12),
    ('cpu', None),
  ],
)
def test_the_peak_is_that_of_the_chip(kind, peak):
  assert chips.peak(kind) == peak
