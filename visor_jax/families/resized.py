"""Images made smaller before a checkpoint's processor gets them."""

from collections.abc import Sequence
import dataclasses

import PIL.Image

from visor_jax.data.processing import processed
from visor_jax.data.sources import image_files
from visor_jax.families import wrapped


@dataclasses.dataclass(frozen=True)
class Processor(wrapped.Processor):
  """A protocols.Processor of smaller images.

  Attributes:
    side: pixels that the longer side of an image has at most.
  """

  side: int

  def plans(
    self, sizes: Sequence[tuple[int, int]]
  ) -> Sequence[processed.ImagePlan]:
    """How the images of a sample, each (height, width), become tokens."""
    return self.processor.plans(
      [processed.smaller(*each, self.side) for each in sizes]
    )

  def cut(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> Sequence[processed.CutImage]:
    """What the images of a sample become."""
    image_files.check_sizes(opened, sizes)
    smaller = [processed.smaller(*each, self.side) for each in sizes]
    images = [
      # Bicubic, each new pixel of all that it covers.
      image.resize((width, height), PIL.Image.Resampling.BICUBIC)
      for image, (height, width) in zip(opened, smaller)
    ]
    return self.processor.cut(images, smaller)
