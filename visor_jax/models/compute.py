"""How to compute, not what: nothing here changes a result but rounding."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Compute:
  """Settings of a program; keys under `model`.

  Attributes:
    dtype: computed in; parameters are float32.
    remat: recompute layers in the backward pass.
    remat_policy: what remat keeps of a layer: its 'input', or 'dots', products
      with weights too.
    scan: scan layers that repeat.
    attention: a name in models.attention.IMPLEMENTATIONS.
    chunk: queries scored at a time where attention is chunked.
    packed: a row may hold several segments.
  """

  dtype: str = 'float32'
  remat: bool = True
  remat_policy: str = 'input'
  scan: bool = True
  attention: str = 'auto'
  chunk: int = 512
  packed: bool = True
