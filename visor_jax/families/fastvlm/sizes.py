"""Qwen2 with FastViTHD at 1024 pixels, as published checkpoints are.

From the `config.json` of each.
"""

from visor_jax.spec import sizes

STAGES = (2, 12, 24, 4, 2)  # layers of FastViTHD
HEAD = 32  # width of a head of its attention


def tower(
  side: int, width: int = 1536, stages: tuple[int, ...] = STAGES
) -> sizes.Vision:
  """FastViTHD for images of so many pixels to a side.

  Args:
    side: a multiple of 64; no positions are stored, so any will do.
    width: of the last of its stages.
    stages: layers of each.
  """
  return sizes.Vision(
    width=width,
    depth=sum(stages),
    heads=width // HEAD,
    mlp=4 * width,
    tile=(side, side),
    patch=4 << (len(stages) - 1),
    norm_eps=1e-5,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    stages=stages,
  )


_TOWER = tower(1024)

SIZES = {
  'fastvlm-0.5b': sizes.Size(_TOWER, sizes.Language(896, 24, 14, 2, 64, 4864)),
  'fastvlm-1.5b': sizes.Size(
    _TOWER, sizes.Language(1536, 28, 12, 2, 128, 8960)
  ),
  'fastvlm-7b': sizes.Size(
    _TOWER,
    sizes.Language(3584, 28, 28, 4, 128, 18944, vocabulary=152_128, tied=False),
  ),
}
