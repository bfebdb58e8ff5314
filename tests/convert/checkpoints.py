"""Tiny LLaVA-OneVision checkpoints: their tensors, and VISOR trained on one."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from tests import llava_weights
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder as folder_lib
from visor_jax.convert import folders
from visor_jax.convert import safetensors
from visor_jax.convert import sidecar
from visor_jax.models import visor
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans


def tensors_of(folder):
  """{name: (dtype, shape, bytes)}, read by the package, names as they are."""
  tensors = {}
  for path in sorted(pathlib.Path(folder).glob('model*.safetensors')):
    for name, t in llava_weights.safetensors.load_file(path).items():
      tensors[name] = (
        t.dtype,
        tuple(t.shape),
        t.contiguous().view(-1).view(torch.uint8).numpy().tobytes(),
      )
  return tensors


def go_round(src, expected):
  """Imports a folder and exports it, to the byte: `out` and `again` beside it.

  Args:
    src: the folder.
    expected: its tensors under the names of transformers.
  """
  where = src.parent
  folders.import_(src, where / 'checkpoint')
  folders.export(where / 'checkpoint', where / 'out')
  assert tensors_of(where / 'out') == expected
  folders.export(where / 'checkpoint', where / 'again', form='imported')
  assert tensors_of(where / 'again') == tensors_of(src)


def same_weights(model, other):
  """Asserts that two torch models have the same, to the bit."""
  weights = model.state_dict()
  for name, tensor in other.state_dict().items():
    assert torch.equal(weights[name], tensor), name


def change(folder, act):
  """Rewrites the one file of a checkpoint: act changes {name: tensor}."""
  path = folder / safetensors.SINGLE
  tensors = llava_weights.safetensors.load_file(path)
  act(tensors)
  llava_weights.safetensors.save_file(tensors, path, {'format': 'pt'})


def copy(checkpoint, folder):
  shutil.copytree(checkpoint[0], folder)
  return folder


def equal(a, b):
  a, b = param_paths.flatten(a), param_paths.flatten(b)
  assert a.keys() == b.keys()
  for path in a:
    assert a[path].dtype == b[path].dtype, path
    np.testing.assert_array_equal(a[path], b[path], err_msg=path)


def loads(folder, **kwargs):
  """The model as transformers loads it, with nothing missing or left over."""
  model, problems = (
    transformers.LlavaOnevisionForConditionalGeneration.from_pretrained(
      folder, output_loading_info=True, **kwargs
    )
  )
  assert not any(problems.values()), problems
  return model.eval()


def row(tokens, image_at, tiles, source):
  """A Batch of one row: text, visual tokens before token `image_at`, text."""
  n, v = len(tokens), len(source)
  int32 = lambda x: np.array(x, np.int32)[None]
  place = np.arange(n)
  place[image_at:] += v
  return batch_lib.Batch(
    int32(tokens),
    int32([1] * n),
    int32(place),
    np.zeros((1, n), bool),
    int32([1] * v),
    int32(np.arange(v) + image_at),
    tiles[None],
    np.zeros((1, len(tiles), 2), np.int32),
    int32(source)[..., None],
    np.ones((1, v, 1), np.float32),
    int32([1]),
    int32([n - 1]),
  )


def with_visor(imported):
  """The checkpoint with trained VISOR weights, all random."""
  facts = facts_lib.Facts(
    architecture.Architecture(
      imported.facts.architecture.size,
      plans.visor(3, cross=(0, 1), self_=(2,)),
      architecture.CrossOptions(conv=True),
      architecture.RouterOptions(hidden=6, plans=2),
    ),
    ((False,), (True,)),
    0.75,
    ('cross', 'router'),
  )
  model = visor.Visor(facts.architecture)
  batch = row([1, 2, 3], 1, np.zeros((1, 20, 20, 3), np.uint8), [0, 1])
  generator = np.random.default_rng(0)
  visor_params = jax.tree.map(
    lambda x: jnp.asarray(generator.standard_normal(x.shape, np.float32)),
    param_paths.flatten(
      jax.eval_shape(
        lambda: jax.tree.map(
          lambda x: x.unbox(),
          model.init(jax.random.key(0), batch, method='init_all')['params'],
          is_leaf=lambda x: hasattr(x, 'unbox'),
        )
      )
    ),
  )
  base = param_paths.flatten(imported.params)
  assert len(visor_params) > len(base) + 12
  params = param_paths.unflatten(visor_params | base)
  return facts_lib.Checkpoint(params, facts, imported.processor)


def save(folder, checkpoint):
  """Writes a checkpoint folder that can be exported."""
  folder_lib.save(
    folder,
    checkpoint.params,
    checkpoint.facts,
    sidecar.read(checkpoint.processor).write,
  )
