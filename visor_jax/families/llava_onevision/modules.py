"""Tower and connector of LLaVA-OneVision, as linen modules."""

from visor_jax.families.llava_onevision import tower
from visor_jax.models import backbone
from visor_jax.models import connector

MODULES = backbone.Modules(tower.Tower, connector.Connector)
