"""VISOR in JAX: vision-language models whose cost follows the question."""


def load(folder, **kwargs):
  """A checkpoint to ask; see `inference.load`."""
  from visor_jax import inference  # jax and all: only who asks pays for it

  return inference.load(folder, **kwargs)
