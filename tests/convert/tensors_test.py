"""The table against our model's tree, their names, and written-out axes."""

import jax
import numpy as np
import pytest

from tests import llava_weights
from tests import published
from visor_jax.convert import tensors
from visor_jax.models import visor
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

TABLE = published.TENSORS
TINY = sizes.Size(
  sizes.Vision(24, 2, 3, 36, tile=(20, 20), patch=6),
  sizes.Language(32, 3, 4, 2, 12, 44, vocabulary=160),
)
UNTIED = sizes.Size(
  TINY.vision, sizes.Language(32, 3, 4, 2, 12, 44, vocabulary=160, tied=False)
)


@pytest.mark.parametrize(
  'size', [TINY, UNTIED, *(published.SIZES[s] for s in ('0.5b', '1.5b', '7b'))]
)
def test_the_table_is_the_model(size):
  """Every parameter of the base, no other, in its shape."""
  int32 = lambda *shape: np.zeros(shape, np.int32)
  tiles = np.zeros((1, 1, *size.vision.tile, 3), np.uint8)
  batch = batch_lib.Batch(
    int32(1, 2),
    int32(1, 2),
    int32(1, 2),
    np.zeros((1, 2), bool),
    int32(1, 1),
    int32(1, 1),
    tiles,
    int32(1, 1, 2),
    int32(1, 1, 1),
    np.zeros((1, 1, 1), np.float32),
    int32(1, 1),
    int32(1, 1),
  )
  model = visor.Visor(
    architecture.Architecture(size, plans.base(size.language.depth))
  )
  tree = jax.eval_shape(lambda: model.init(jax.random.key(0), batch, None))
  flat = param_paths.flatten(tree['params'])
  assert TABLE.shapes(size) == {
    path: x.unbox().shape for path, x in flat.items()
  }
  for path in flat:  # what is stacked says so
    assert tensors.is_stacked(path) == (
      TABLE.shapes(size)[path]
      != next(
        h.layer_shape for h in TABLE.homes(size).values() if h.path == path
      )
    )


def test_the_table_is_their_model():
  """Every tensor that a model of theirs has is used, or known to be unused."""
  model = llava_weights.build(tied=False)
  theirs = {
    TABLE.written(name): tuple(t.shape)
    for name, t in model.state_dict().items()
  }
  homes = TABLE.homes(UNTIED)
  used = {n: s for n, s in theirs.items() if not TABLE.is_unused(n, UNTIED, 2)}
  assert used == {name: home.tensor_shape for name, home in homes.items()}
  unused_parts = {n.split('.')[1] for n in theirs if n not in used}
  assert unused_parts == {'post_layernorm', 'head'}


@pytest.mark.parametrize('spelling', llava_weights.SPELLINGS)
def test_four_spellings(spelling):
  every = [
    *TABLE.homes(UNTIED),
    'vision_tower.post_layernorm.weight',
    'vision_tower.head.probe',
    'vision_tower.embeddings.position_ids',
    'language_model.model.layers.0.self_attn.rotary_emb.inv_freq',
  ]
  for name in every:
    assert TABLE.written(llava_weights.respell(name, spelling)) == name


def test_a_name_of_another_world_stays():
  assert TABLE.written('transformer.h.0.attn') == 'transformer.h.0.attn'


@pytest.mark.parametrize(
  'name,unused',
  [
    ('vision_tower.encoder.layers.2.mlp.fc1.weight', True),
    ('vision_tower.encoder.layers.1.mlp.fc1.weight', False),
    ('vision_tower.encoder.layers.3.mlp.fc1.weight', False),
    ('vision_tower.encoder.layers.20.mlp.fc1.weight', False),
    ('language_model.model.layers.2.mlp.up_proj.weight', False),
    ('language_model.model.layers.9.self_attn.rotary_emb.inv_freq', True),
    ('vision_tower.embeddings.position_ids', True),
    ('vision_tower.headless.weight', False),
    ('image_newline', False),
  ],
)
def test_what_is_only_kept(name, unused):
  """The size runs two of the tower's three layers."""
  assert TABLE.is_unused(name, TINY, 3) == unused


def test_axes():
  """Written out: what of theirs stands where with us."""
  homes = TABLE.homes(UNTIED)

  def both(name):
    home = homes[name]
    theirs = np.arange(np.prod(home.tensor_shape)).reshape(home.tensor_shape)
    return theirs, home.to_ours(theirs)

  layer = 'language_model.model.layers.1.self_attn.'
  a, b = both(layer + 'q_proj.weight')
  assert b.shape == (32, 4, 12) and b[5, 3, 7] == a[3 * 12 + 7, 5]
  a, b = both(layer + 'v_proj.bias')
  assert b.shape == (2, 12) and b[1, 7] == a[12 + 7]
  a, b = both(layer + 'o_proj.weight')
  assert b.shape == (4, 12, 32) and b[3, 7, 5] == a[5, 3 * 12 + 7]
  a, b = both('language_model.model.layers.0.mlp.down_proj.weight')
  assert b.shape == (44, 32) and b[40, 5] == a[5, 40]
  a, b = both('language_model.lm_head.weight')
  assert b.shape == (32, 160) and b[5, 150] == a[150, 5]
  a, b = both('vision_tower.embeddings.patch_embedding.weight')
  assert b.shape == (108, 24)
  row, column, colour = 4, 2, 1
  assert b[(row * 6 + column) * 3 + colour, 9] == a[9, colour, row, column]


def test_there_and_back():
  for name, home in TABLE.homes(UNTIED).items():
    theirs = np.arange(np.prod(home.tensor_shape)).reshape(home.tensor_shape)
    ours = home.to_ours(theirs)
    assert ours.shape == home.layer_shape, name
    np.testing.assert_array_equal(home.to_theirs(ours), theirs)
