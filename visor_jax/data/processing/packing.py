"""Conversations to rows: the arrays of a Batch, in fixed shapes."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from visor_jax.data.processing import processed
from visor_jax.spec import batch as batch_lib

HALVINGS = 3


@dataclasses.dataclass(frozen=True)
class Segment:
  """A conversation with its images, ready to take its slots in a row.

  Attributes:
    conversation: the text.
    tiles: uint8 [i, height, width, 3].
    tile_grid: int32 [i, 2], see batch.Batch.
    gather_index: int32 [v, K], patches of these tiles; i * P is the newline.
    gather_weight: float32 [v, K].
    before: int [v], ascending; the index of the token that a visual token
      stands before.
  """

  conversation: processed.Conversation
  tiles: np.ndarray
  tile_grid: np.ndarray
  gather_index: np.ndarray
  gather_weight: np.ndarray
  before: np.ndarray

  def showing(self, tokens: np.ndarray) -> 'Segment':
    """With some of the visual tokens alone, by their numbers, rising."""
    return dataclasses.replace(
      self,
      gather_index=self.gather_index[tokens],
      gather_weight=self.gather_weight[tokens],
      before=self.before[tokens],
    )

  def slots(self) -> dict[str, int]:
    """How many it takes of each kind that a RowShape counts."""
    return dict(
      text=len(self.conversation.tokens),
      visual=len(self.gather_index),
      tiles=len(self.tiles),
      prompts=len(self.conversation.prompts),
    )


def segment_of_images(
  conversation: processed.Conversation,
  tiles: Sequence[np.ndarray],
  plans: Sequence[processed.ImagePlan],
  patches: int,
) -> Segment:
  """A conversation about images that are cut by their plans.

  Args:
    conversation: the text, with a place for each image.
    tiles: of each image, uint8 [i, height, width, 3].
    plans: how each becomes visual tokens.
    patches: P of a tile.
  """
  # There may be no image at all; no tiles go with those of any size.
  stacked = np.concatenate(tiles) if tiles else np.zeros((0, 1, 1, 3), np.uint8)
  newline, first = len(stacked) * patches, 0
  grids = [np.zeros((0, 2), np.int32), *(plan.tile_grid for plan in plans)]
  taps = plans[0].gather_index.shape[1] if plans else 1
  indices = [np.zeros((0, taps), np.int32)]
  weights = [np.zeros((0, taps), np.float32)]
  for plan in plans:
    is_newline = plan.gather_index == plan.tiles * patches
    indices.append(np.where(is_newline, newline, plan.gather_index + first))
    weights.append(plan.gather_weight)
    first += plan.tiles * patches
  before = np.repeat(
    np.array(conversation.image_at, int), [plan.tokens for plan in plans]
  )
  return Segment(
    conversation,
    stacked,
    np.concatenate(grids),
    np.concatenate(indices),
    np.concatenate(weights),
    before,
  )


def row(
  segments: Sequence[Segment], shape: batch_lib.RowShape
) -> batch_lib.Row:
  """Lays segments one behind the other.

  Args:
    segments: the segments of one row.
    shape: slots of the row.

  Returns:
    The fields of a Batch for one row, without the batch axis.

  Raises:
    ValueError: they need more slots than there are.
  """
  out = _empty(shape)
  taken = dict(text=0, visual=0, tiles=0, prompts=0)
  place = 0  # of the next token, text or visual, in the row's own sequence
  for number, segment in enumerate(segments, start=1):
    start, taken = taken, _add(taken, segment.slots(), shape)
    text, visual, tiles, prompts = (
      slice(start[name], taken[name]) for name in taken
    )
    talk, tokens = segment.conversation, len(segment.conversation.tokens)
    visual_tokens = len(segment.gather_index)
    text_place = np.arange(tokens)
    text_place += place + np.searchsorted(
      segment.before, text_place, side='right'
    )
    visual_place = place + segment.before + np.arange(visual_tokens)

    out['tokens'][text] = talk.tokens
    out['answer'][text] = talk.answer
    out['text_segment'][text] = number
    out['text_place'][text] = text_place
    out['visual_segment'][visual] = number
    out['visual_place'][visual] = visual_place
    out['tiles'][tiles] = segment.tiles
    out['tile_grid'][tiles] = segment.tile_grid
    out['gather_index'][visual] = np.where(
      segment.gather_index == len(segment.tiles) * shape.patches,
      shape.tiles * shape.patches,  # the newline
      segment.gather_index + tiles.start * shape.patches,
    )
    out['gather_weight'][visual] = segment.gather_weight
    out['prompt_segment'][prompts] = number
    out['prompt_place'][prompts] = text_place[talk.prompts]
    place += tokens + visual_tokens
  # Padding takes the places that are left, so that places are a permutation.
  text_padding = shape.text - taken['text']
  out['text_place'][taken['text'] :] = place + np.arange(text_padding)
  out['visual_place'][taken['visual'] :] = np.arange(
    place + text_padding, shape.text + shape.visual
  )
  return out


def _add(
  taken: dict[str, int], more: dict[str, int], shape: batch_lib.RowShape
) -> dict[str, int]:
  """Slots that are taken with those of another segment.

  Raises:
    ValueError: they are more than a row has.
  """
  both = {name: taken[name] + more[name] for name in taken}
  for name, count in both.items():
    if count > getattr(shape, name):
      raise ValueError(
        f'a row has {getattr(shape, name)} {name} slots; its '
        f'conversations need {count}'
      )
  return both


def _empty(shape: batch_lib.RowShape) -> batch_lib.Row:
  """A row of padding, in which no place is given yet."""
  text, visual, prompts = shape.text, shape.visual, shape.prompts
  return dict(
    tokens=np.zeros(text, np.int32),
    text_segment=np.zeros(text, np.int32),
    text_place=np.zeros(text, np.int32),
    answer=np.zeros(text, bool),
    visual_segment=np.zeros(visual, np.int32),
    visual_place=np.zeros(visual, np.int32),
    tiles=np.zeros((shape.tiles, *shape.tile, 3), np.uint8),
    tile_grid=np.zeros((shape.tiles, 2), np.int32),
    gather_index=np.zeros((visual, shape.taps), np.int32),
    gather_weight=np.zeros((visual, shape.taps), np.float32),
    prompt_segment=np.zeros(prompts, np.int32),
    prompt_place=np.zeros(prompts, np.int32),
  )


def stack(rows: Sequence[batch_lib.Row]) -> batch_lib.Batch:
  """Rows of equal shape to a Batch."""
  return batch_lib.Batch(
    **{name: np.stack([row[name] for row in rows]) for name in batch_lib.NAMES}
  )


def halvings(batch: batch_lib.Batch, patches: int) -> int:
  """How often all slots of a batch can be halved and still hold its rows.

  At most HALVINGS times: few shapes are few programs.

  Args:
    batch: numpy arrays.
    patches: P of a tile.
  """
  counts = batch.text(), batch.visual(), batch.used(patches)
  names = ('text', 'visual', 'tiles')
  return times_halved(
    {name: int(count.max()) for name, count in zip(names, counts)},
    dict(zip(names, _slots(batch, 0))),
  )


def times_halved(needed: Mapping[str, int], slots: Mapping[str, int]) -> int:
  """How often all slots can be halved and still be as many as are needed.

  Args:
    needed: {text, visual, tiles}.
    slots: likewise, that there are.
  """

  def fits(times: int) -> bool:
    return all(n <= max(1, slots[name] >> times) for name, n in needed.items())

  return max((n for n in range(HALVINGS + 1) if fits(n)), default=0)


def halved(batch: batch_lib.Batch, times: int, patches: int) -> batch_lib.Batch:
  """The same rows in 1 / 2**times of the slots.

  Args:
    batch: numpy arrays.
    times: at most its `halvings`.
    patches: P of a tile.
  """
  text, visual, tiles = _slots(batch, times)
  lengths = dict.fromkeys(('tiles', 'tile_grid'), tiles)
  lengths |= dict.fromkeys(
    ('tokens', 'answer', 'text_segment', 'text_place'), text
  )
  lengths |= dict.fromkeys(
    ('visual_segment', 'visual_place', 'gather_index', 'gather_weight'), visual
  )
  cut = {name: getattr(batch, name)[:, :n] for name, n in lengths.items()}

  # What is left of the padding has the last places, text before visual.
  cut['text_place'] = np.where(
    cut['text_segment'] > 0,
    cut['text_place'],
    batch.visual()[:, None] + np.arange(text),
  ).astype(np.int32)
  cut['visual_place'] = np.where(
    cut['visual_segment'] > 0, cut['visual_place'], text + np.arange(visual)
  ).astype(np.int32)

  newline = cut['gather_index'] == batch.tiles.shape[1] * patches
  cut['gather_index'] = np.where(
    newline, np.int32(tiles * patches), cut['gather_index']
  )
  return dataclasses.replace(batch, **cut)


def _slots(batch: batch_lib.Batch, times: int) -> tuple[int, int, int]:
  """Slots for text, visual tokens and tiles, halved so often."""
  text, visual, tiles = (
    max(1, array.shape[1] >> times)
    for array in (batch.tokens, batch.gather_index, batch.tiles)
  )
  return text, visual, tiles
