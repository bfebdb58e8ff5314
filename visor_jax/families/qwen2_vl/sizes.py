"""Qwen2 with a tower for images of any size, as published checkpoints are.

From the `config.json` of each.
"""

import dataclasses

from visor_jax.spec import sizes

MERGE = 2  # patches to a side that become one visual token
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
STD = (0.26862954, 0.26130258, 0.27577711)

_TOWER = sizes.Vision(
  width=1280,
  depth=32,
  heads=16,
  mlp=5120,
  tile=(28, 28),
  patch=14,
  mean=MEAN,
  std=STD,
  merge=MERGE,
)
_WINDOWED = dataclasses.replace(
  _TOWER, mlp=3420, window=4, full_layers=(7, 15, 23, 31)
)
_SECTIONS = (16, 24, 24)  # of the 64 frequencies of a head

SIZES = {
  'qwen2-vl-2b': sizes.Size(
    _TOWER,
    sizes.Language(
      1536,
      28,
      12,
      2,
      128,
      8960,
      vocabulary=151_936,
      rope_sections=_SECTIONS,
    ),
  ),
  'qwen2-vl-7b': sizes.Size(
    _TOWER,
    sizes.Language(
      3584,
      28,
      28,
      4,
      128,
      18944,
      vocabulary=152_064,
      tied=False,
      rope_sections=_SECTIONS,
    ),
  ),
  'qwen2.5-vl-3b': sizes.Size(
    _WINDOWED,
    sizes.Language(
      2048,
      36,
      16,
      2,
      128,
      11008,
      vocabulary=151_936,
      rope_sections=_SECTIONS,
    ),
  ),
}
SIZES['qwen2.5-vl-7b'] = sizes.Size(_WINDOWED, SIZES['qwen2-vl-7b'].language)
