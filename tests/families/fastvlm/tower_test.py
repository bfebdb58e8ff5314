"""FastViTHD against torch, its parameters, its ratings and its cost."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests import fastvit
from tests import multiply_adds
from tests import rows
from visor_jax.families.fastvlm import costs
from visor_jax.families.fastvlm import sizes
from visor_jax.families.fastvlm import tensors
from visor_jax.families.fastvlm import tower
from visor_jax.models import compute as compute_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import sizes as sizes_lib

LAYERS, WIDTHS = (1, 2, 1, 2, 1), (4, 8, 16, 32, 64)
LANGUAGE = sizes_lib.Language(16, 1, 2, 1, 8, 16)


def theirs(layers=LAYERS, widths=WIDTHS):
  """The torch tower, with weights and statistics of which none is idle."""
  torch.manual_seed(0)
  model = fastvit.FastVit(layers, widths).eval()
  with torch.no_grad():
    for name, x in model.state_dict().items():
      if x.ndim > 1 and 'gamma' not in name:
        x.normal_(std=x[0].numel() ** -0.5)
      elif x.dtype == torch.float32:
        x.uniform_(0.5, 1.5)
  return model


def ours(model, side, layers=LAYERS, widths=WIDTHS):
  """Its parameters as the package has them, and their size."""
  vision = sizes.tower(side, widths[-1], layers)
  size = sizes_lib.Size(vision, LANGUAGE)
  flat: dict = {}
  homes = tensors.TABLE.homes(size)
  for name, x in model.state_dict().items():
    name = 'model.vision_tower.timm_model.' + name
    if not tensors.TABLE.is_unused(name, size, 0):
      flat.setdefault(homes[name].path, []).append(
        homes[name].to_ours(x.numpy())
      )
  params = {
    path: np.stack(layers) if '/layers/' in path else layers[0]
    for path, layers in flat.items()
  }
  return param_paths.unflatten(params)['vision'], vision


def run(vision, params, tiles, **kwargs):
  module = tower.Tower(vision, compute_lib.Compute(**kwargs))
  return rows.jit(
    functools.partial(module.apply, {'params': params}, rate=True)
  )(tiles, np.zeros((*tiles.shape[:2], 2), np.int32))


@pytest.mark.parametrize(
  'side,shape',
  [
    (128, (LAYERS, WIDTHS)),
    (192, (LAYERS, WIDTHS)),
    pytest.param(
      256,
      (sizes.STAGES, (96, 192, 384, 768, 1536)),
      marks=pytest.mark.drill,
      id='published',
    ),
  ],
)
def test_features_are_those_of_torch(side, shape):
  """Any side that the stride of 64 divides; rows of a batch stay apart.

  torch computes in float64: of the published depth its float32 is further from
  that than ours.
  """
  model = theirs(*shape)
  params, vision = ours(model, side, *shape)
  tiles = np.random.default_rng(0).integers(
    0, 256, (2, 2, side, side, 3), np.uint8
  )
  got = run(vision, params, tiles)
  pixels = torch.from_numpy(tiles).reshape(4, side, side, 3).permute(0, 3, 1, 2)
  with torch.no_grad():
    features = model.double().forward_features(pixels.double() / 255)
  want = features.flatten(2).mT.numpy()
  want = want.reshape(2, -1, want.shape[-1])
  assert want.shape == (2, 2 * vision.patches, vision.features)
  assert np.abs(want).max() > 1 and want.std(1).max() > 0.1
  off = np.linalg.norm(got.features - want)
  print(f'off by {off / np.linalg.norm(want):.1e} of the norm')
  assert off < 1e-5 * np.linalg.norm(want)


def test_padding_and_other_images_do_not_matter():
  """A tile has the features that it has alone."""
  params, vision = ours(theirs(), 128)
  tiles = np.random.default_rng(1).integers(
    0, 256, (1, 2, 128, 128, 3), np.uint8
  )
  both = run(vision, params, tiles).features
  alone = run(vision, params, tiles[:, 1:]).features
  np.testing.assert_allclose(both[:, 4:], alone, atol=1e-5)


def test_ratings_are_of_the_last_layer():
  """Attention that patches get adds up; keys are a head's width."""
  params, vision = ours(theirs(), 192)
  tiles = np.random.default_rng(2).integers(
    0, 256, (2, 1, 192, 192, 3), np.uint8
  )
  got = run(vision, params, tiles)
  assert got.attention.shape == (2, 9) and got.keys.shape == (2, 9, 32)
  np.testing.assert_allclose(got.attention.sum(1), 1, rtol=1e-5)
  assert np.ptp(got.attention, axis=1).min() > 0


def test_statistics_stay_in_float32_and_the_rest_is_computed_in_bfloat16():
  params, vision = ours(theirs(), 128)
  tiles = np.random.default_rng(3).integers(
    0, 256, (1, 1, 128, 128, 3), np.uint8
  )
  exact = run(vision, params, tiles).features
  got = run(vision, params, tiles, dtype='bfloat16').features
  assert got.dtype == jnp.bfloat16
  off = np.abs(got.astype(np.float32) - exact).max()
  assert 0 < off < 0.05 * np.abs(exact).max()


def published():
  """Shapes of the published tower: parameters, and the traced program."""
  vision = sizes.SIZES['fastvlm-0.5b'].vision
  module = tower.Tower(vision)
  tiles = jax.ShapeDtypeStruct((1, 1, *vision.tile, 3), jnp.uint8)
  grid = jax.ShapeDtypeStruct((1, 1, 2), jnp.int32)
  params = jax.eval_shape(module.init, jax.random.key(0), tiles, grid)
  program = jax.make_jaxpr(module.apply)(params, tiles, grid)
  return vision, params['params'], program


def test_the_published_tower_is_as_large_and_costly_as_published():
  vision, params, program = published()
  assert vision.patches == 256 and vision.features == 3072
  flat = param_paths.flatten(params)
  sizes_of = {path: math.prod(x.unbox().shape) for path, x in flat.items()}
  assert sum(sizes_of.values()) / 1e6 == pytest.approx(122.7, abs=0.1)
  counted = multiply_adds.macs(program)
  assert counted == costs.tower(vision, patches=True, tiles=1)
  assert counted / 1e9 == pytest.approx(243, abs=0.5)
  assert 0.99 < costs.tower(vision, patches=False, tiles=1) / counted < 1


def test_what_was_measured_never_trains():
  _, params, _ = published()
  trained, frozen = param_paths.split(params, (('.*', True),))
  assert len(frozen) == 2 * len(sizes.STAGES)
  assert all(path.split('/')[-1].startswith('running_') for path in frozen)
  assert trained.keys() & {'stage_4/layers/mlp/norm/scale'}


@pytest.mark.drill
def test_the_torch_tower_is_timms():
  """Needs timm, of which the suite is free."""
  timm = pytest.importorskip('timm')
  for layers, widths in (
    (LAYERS, WIDTHS),
    ((2, 3, 4, 2, 2), (8, 16, 32, 64, 128)),
  ):
    ours = fastvit.FastVit(layers, widths).eval()
    timms = timm.create_model(
      'fastvit_mci3',
      inference_mode=True,
      num_classes=0,
      layers=layers,
      embed_dims=widths,
    ).eval()
    timms.load_state_dict(ours.state_dict())
    pixels = torch.rand(2, 3, 192, 128)
    with torch.no_grad():
      got, want = (m.forward_features(pixels) for m in (ours, timms))
    print(f'{layers}: off by {(got - want).abs().max() / want.abs().max():.1e}')
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
