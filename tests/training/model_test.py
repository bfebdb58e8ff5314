"""The model that is trained is the one configured."""

import pytest

from visor_jax import config as config_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.training import model as model_lib


def test_a_cross_attention_that_does_not_exist_is_named():
  config = config_lib.default()
  config.model.size, config.model.cross.module = 'digits', 'mine'
  with pytest.raises(ValueError, match=r'model\.cross\.module is "mine"') as e:
    model_lib.abstract_params(model_lib.build(config), mesh_lib.make())
  assert 'attention' in str(e.value)


def test_the_model_is_the_one_configured():
  """A key that reaches nothing would be swept in vain."""
  config = config_lib.default()
  config.model.size, config.model.dtype = 'digits', 'bfloat16'
  config.model.cross.key_heads, config.model.router.hidden = 'full', 5
  config.model.remat, config.model.scan = False, False
  config.model.attention_chunk, config.search.max_plans = 3, 4
  model = model_lib.build(config)
  assert model.size.language.width == 64
  assert model.architecture.cross.key_heads == 'full'
  router = model.architecture.router
  assert router.hidden == 5 and router.plans == 4
  assert (
    model.compute.dtype,
    model.compute.remat,
    model.compute.scan,
    model.compute.chunk,
  ) == ('bfloat16', False, False, 3)
