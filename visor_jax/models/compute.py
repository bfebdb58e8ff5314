"""How to compute, not what: nothing here changes a result but rounding."""

import dataclasses

REMAT_POLICIES = ('input', 'dots')
IMPLEMENTATIONS = ('auto', 'chunked', 'flash', 'splash')


@dataclasses.dataclass(frozen=True)
class Compute:
  """Settings of a program; keys under `model`.

  Attributes:
    dtype: computed in; parameters are float32.
    remat: recompute layers in the backward pass.
    remat_policy: what remat saves of a layer: its 'input', or 'dots', products
      with weights too.
    scan: scan layers that repeat.
    attention: a name in IMPLEMENTATIONS, see models.attention.attend.
    chunk: queries, and keys, scored at a time where attention is chunked.
  """

  dtype: str = 'float32'
  remat: bool = True
  remat_policy: str = 'input'
  scan: bool = True
  attention: str = 'auto'
  chunk: int = 512

  def __post_init__(self) -> None:
    for key, names in (
      ('remat_policy', REMAT_POLICIES),
      ('attention', IMPLEMENTATIONS),
    ):
      if getattr(self, key) not in names:
        raise ValueError(
          f'model.{key} is "{getattr(self, key)}", not one of {names}'
        )
