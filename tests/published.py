"""The family whose checkpoints are published, and its sizes."""

from visor_jax.families import table as families

FAMILY = families.named(families.DEFAULT)
SIZES = FAMILY.sizes
TENSORS = FAMILY.tensors()
