"""Tower and merger of Qwen2-VL, as linen modules."""

from visor_jax.families.qwen2_vl import merger
from visor_jax.families.qwen2_vl import tower
from visor_jax.models import backbone

MODULES = backbone.Modules(tower.Tower, merger.Merger)
