"""Tower and connector of FastVLM, as linen modules."""

import functools

from visor_jax.families.fastvlm import tower
from visor_jax.models import backbone
from visor_jax.models import connector

MODULES = backbone.Modules(
  tower.Tower, functools.partial(connector.Connector, newline=False)
)
