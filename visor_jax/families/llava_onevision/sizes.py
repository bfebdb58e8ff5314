"""Qwen2 with SigLIP-SO400M/14 at 384 pixels, as published checkpoints are.

From the `config.json` of each.
"""

from visor_jax.spec import sizes

# All its 26 layers but the last, which is no part of the checkpoints.
_SO400M = sizes.Vision(1152, 26, 16, 4304, tile=(384, 384), patch=14)

SIZES = {
  '0.5b': sizes.Size(_SO400M, sizes.Language(896, 24, 14, 2, 64, 4864)),
  '1.5b': sizes.Size(_SO400M, sizes.Language(1536, 28, 12, 2, 128, 8960)),
  '7b': sizes.Size(
    _SO400M, sizes.Language(3584, 28, 28, 4, 128, 18944, tied=False)
  ),
}
