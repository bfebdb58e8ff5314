"""A train step and a prefill, compiled for H100s that are not there."""

import importlib.util
import re

import jax
import pytest

from visor_jax.data.processing import packing
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor
from visor_jax.preflight import compiler
from visor_jax.preflight import hlo
from visor_jax.preflight import machine as machine_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes
from visor_jax.training import losses
from visor_jax.training import model as model_lib

pytestmark = pytest.mark.skipif(
  importlib.util.find_spec('jax_cuda13_plugin') is None,
  reason='the compiler for GPUs is not installed: visor_jax[preflight-gpu]',
)

DEVICES, TEXT, VISUAL = 8, 2048, 6144
SIZE = sizes.Size(
  sizes.Vision(64, 0, 1, 64, tile=(16, 16), patch=16),
  sizes.Language(256, 3, 8, 2, 64, 480, vocabulary=4000),
)


@pytest.fixture(scope='module')
def compiled():
  return compile_for(DEVICES, fsdp=DEVICES)


def compile_for(count, text=TEXT, visual=VISUAL, **axes):
  """Gradients of a step over eight devices, and a prefill on them."""
  model = visor.Visor(
    architecture.Architecture(SIZE, plans.visor(3)),
    compute_lib.Compute(dtype='bfloat16', attention='flash'),
  )
  machine = machine_lib.describe(f'h100:{DEVICES}')
  mesh = mesh_lib.make(devices=machine.devices, **axes)
  shape = batch_lib.RowShape(text, visual, 1, 1, (16, 16), 1)
  rows = mesh_lib.batch_sharding(mesh)
  batch = packing.stack([packing.row([], shape)] * count).map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows)
  )
  weights = model_lib.abstract_params(model, mesh)
  layout = jax.tree.map(lambda x: x.sharding, weights)

  def loss(weights, batch):
    examples = losses.Examples(batch)
    return losses.answer_loss(model, weights, examples, model.layout.max, 256)

  def prefill(weights, batch):
    return model.apply(
      {'params': weights}, batch, model.layout.max, method='prefill'
    )

  def build(f, **kwargs):
    with mesh_lib.use_mesh(mesh):
      program = jax.jit(f, **kwargs).lower(weights, batch)
      return program.compile(compiler.OPTIONS['gpu'])

  gradient = jax.grad(loss, has_aux=True)
  return (
    weights,
    mesh,
    build(gradient, out_shardings=(layout, mesh_lib.replicated(mesh))),
    build(prefill),
  )


def test_attention_is_flash_and_no_scores_are_there(compiled):
  *_, step, prefill = compiled
  for program, kernels in (
    (step, {'read', 'of_queries', 'of_keys'}),
    (prefill, {'read'}),
  ):
    text = program.as_text()
    assert set(re.findall(r'flash_attention_(\w+)/pallas', text)) == kernels
    both = TEXT + VISUAL
    for pair in ((TEXT, TEXT), (TEXT, VISUAL), (TEXT, both), (both, both)):
      assert not re.findall(r'f\d+\[[\d,]*\b%d,%d\]' % pair, text)
    scores = SIZE.language.heads * both**2 * 2  # in bfloat16
    assert program.memory_analysis().temp_size_in_bytes < scores


def test_no_product_takes_float32(compiled):
  """Sums are float32, what is multiplied is not."""
  for program in compiled[2:]:
    text = program.as_text()
    products = re.findall(r'= (.*) custom-call\((.*)\), .*__cublas', text)
    types = dict(re.findall(r'%?([\w.\-]+) = (\w+\[[\d,]*\])', text))
    operands = [re.findall(r'%([\w.\-]+)', names) for _, names in products]
    assert len(products) > 10
    for names in operands:
      assert all(types[name].startswith('bf16') for name in names[:2]), names


def test_what_is_sent_is_the_weights(compiled):
  """In bfloat16: gathered twice, the head once; gradients reduced once."""
  weights, mesh, step, _ = compiled
  count, _ = hlo.counts(step.as_text(), dict(mesh.shape))
  sent = sum(
    size for (kind, _), size in count.sent.items() if kind != 'all-to-all'
  )  # that is rows of the embedding
  counts = {path: x.size for path, x in param_paths.flatten(weights).items()}
  head = counts['llm/embedding']  # they are tied
  times = 3 * sum(counts.values()) - head
  expected = 2 * times * (DEVICES - 1) / DEVICES
  assert 0.95 * expected < sent < 1.05 * expected


@pytest.mark.drill
def test_a_row_on_four_devices_takes_less_of_each():
  """With kernels as ever; what is sent grows by keys and hidden states."""
  slots = dict(text=2 * TEXT, visual=2 * VISUAL)
  *_, alone, _ = compile_for(DEVICES, fsdp=DEVICES, **slots)
  _, mesh, spread, _ = compile_for(2, fsdp=2, sequence=4, **slots)
  text, both = spread.as_text(), sum(slots.values())
  assert 'flash_attention_of_keys/pallas' in text
  assert not re.findall(r'f\d+\[[\d,]*\b%d,%d\]' % (both // 4, both), text)
  held, held_alone = (
    program.memory_analysis().temp_size_in_bytes for program in (spread, alone)
  )
  assert held < 0.6 * held_alone  # logits and weights stay
  count, _ = hlo.counts(text, dict(mesh.shape))
  along = sum(
    size for (_, axes), size in count.sent.items() if axes == 'sequence'
  )
  hidden = both * SIZE.language.width * 2  # of a row, in bfloat16
  layers = SIZE.language.depth
  print(held, held_alone, along / hidden / layers)
  assert along < 12 * layers * hidden
