"""A checkpoint's processor with something done to images before it, or after.

Before the tower, that is, where it saves most; methods of token reduction ask
for it.
"""

from collections.abc import Sequence
import dataclasses

import PIL.Image

from visor_jax.data import protocols
from visor_jax.data.processing import processed
from visor_jax.spec import batch as batch_lib


@dataclasses.dataclass(frozen=True)
class Processor:
  """A protocols.Processor that does as another one.

  Attributes:
    original: the checkpoint's.
    processor: what is asked.
  """

  original: protocols.Processor
  processor: protocols.Processor

  @property
  def tokenizer(self) -> protocols.Tokenizer:
    """The checkpoint's."""
    return self.processor.tokenizer

  @property
  def patches(self) -> int:
    """P of a tile."""
    return self.processor.patches

  def resized(self, side: int) -> protocols.Processor:
    """Of the checkpoint's, as if nothing had been done."""
    return self.original.resized(side)

  def pruned(self) -> protocols.Processor:
    """Likewise."""
    return self.original.pruned()

  def row_shape(
    self, *, text: int, visual: int, tiles: int, prompts: int = 1
  ) -> batch_lib.RowShape:
    """Slots of a row."""
    return self.processor.row_shape(
      text=text, visual=visual, tiles=tiles, prompts=prompts
    )

  def open_image(self, source: protocols.ImageLike) -> PIL.Image.Image:
    """An image in RGB, as it is."""
    return self.processor.open_image(source)

  def plans(
    self, sizes: Sequence[tuple[int, int]]
  ) -> Sequence[processed.ImagePlan]:
    """How the images of a sample, each (height, width), become tokens."""
    return self.processor.plans(sizes)

  def cut(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> Sequence[processed.CutImage]:
    """What the images of a sample become."""
    return self.processor.cut(opened, sizes)
