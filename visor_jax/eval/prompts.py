"""Prompts of any length to a Batch, in few shapes.

Slots are rounded up to buckets, so that few programs serve all questions:
those of text, which take little, to powers of two; and those of tiles that are
visual tokens, of which images have any number.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import cast

import jax
import numpy as np

from visor_jax.data import protocols
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.models import visor
from visor_jax.runtime import param_paths
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans


@dataclasses.dataclass(frozen=True, eq=False)
class Prompts:
  """Prompts ready to be answered together.

  Attributes:
    batch: a prompt a row.
    lengths: (visual tokens, text tokens) of each.
    images: tiles of each image of each.
  """

  batch: batch_lib.Batch
  lengths: tuple[tuple[int, int], ...]
  images: tuple[tuple[int, ...], ...]

  def logits(
    self,
    model: visor.Visor,
    params: param_paths.Params,
    plan: plans.Plan | None,
  ) -> list[np.ndarray]:
    """Of every text token of each prompt, float32 [T, C]."""
    logits = np.asarray(_logits(model, params, self.batch, plan))
    return [row[:text] for row, (_, text) in zip(logits, self.lengths)]


def bucket(count: int, least: int = 8) -> int:
  """The next of 1, 1.25, 1.5, 1.75 times a power of two: at most 25 % more."""
  size = least
  while size < count:
    quarter = max(1, (1 << (size.bit_length() - 1)) // 4)
    size += quarter
  return size


def _power_of_two(count: int) -> int:
  """The next one, 64 at least."""
  return max(64, 1 << (count - 1).bit_length())


def require_room(
  segments: Sequence[packing.Segment], new_tokens: int, context: int
) -> None:
  """Raises a ValueError where a prompt and new tokens do not fit a context."""
  longest = max(
    segment.slots()['visual'] + segment.slots()['text'] for segment in segments
  )
  if longest + new_tokens > context:
    raise ValueError(
      f'a prompt of {longest} tokens, its images included, and {new_tokens} '
      f'new ones do not fit into {context}'
    )


def of_images(
  images: Sequence[np.ndarray],
  plans: Sequence[processed.ImagePlan],
  processor: protocols.Processor,
) -> Prompts:
  """The images of one prompt as `pack` lays them, without its words."""
  nothing = np.zeros(0, np.int32)
  alone = processed.Conversation(
    nothing, nothing.astype(bool), (0,) * len(plans), nothing
  )
  segment = packing.segment_of_images(alone, images, plans, processor.patches)
  return pack([segment], processor)


def pack(
  segments: Sequence[packing.Segment],
  processor: protocols.Processor,
  tiles: jax.Array | None = None,
) -> Prompts:
  """Lays prompts into a Batch, one a row.

  Args:
    segments: a prompt each, with its images.
    processor: that has made them.
    tiles: of one prompt, where they lie on the device already; then those of
      its segment have no pixels.
  """
  slots = [segment.slots() for segment in segments]
  most = {name: max(each[name] for each in slots) for name in slots[0]}
  visual, tile_slots = bucket(most['visual']), bucket(most['tiles'], 1)
  if processor.patches == 1 and most['tiles']:
    visual = tile_slots = _power_of_two(most['tiles'])
  shape = processor.row_shape(
    text=_power_of_two(most['text']), visual=visual, tiles=tile_slots
  )
  if tiles is not None:
    shape = dataclasses.replace(shape, tile=(0, 0))
  rows = [packing.row([segment], shape) for segment in segments]
  batch = packing.stack(rows).map(jax.device_put)  # jnp.asarray compiles
  return Prompts(
    batch if tiles is None else dataclasses.replace(batch, tiles=tiles),
    tuple((each['visual'], each['text']) for each in slots),
    tuple(batch_lib.image_tiles(each.tile_grid) for each in segments),
  )


@functools.partial(jax.jit, static_argnames=('model', 'plan'))
def _logits(
  model: visor.Visor,
  params: param_paths.Params,
  batch: batch_lib.Batch,
  plan: plans.Plan | None,
) -> jax.Array:
  return cast(jax.Array, model.apply({'params': params}, batch, plan))
