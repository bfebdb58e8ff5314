"""Conversations to rows: the arrays of a Batch, in fixed shapes."""

import dataclasses

import numpy as np

from visor_jax.data.processing import chat
from visor_jax.data.processing import images
from visor_jax.spec import batch as batch_lib

HALVINGS = 3


@dataclasses.dataclass(frozen=True)
class Shape:
  """Slots of a row.

  Attributes:
    text: T.
    visual: V.
    tiles: I.
    prompts: R.
    tile: height and width of a tile in pixels.
    patches: P.
    taps: K, the patches summed into a visual token.
  """

  text: int
  visual: int
  tiles: int
  prompts: int
  tile: tuple[int, int]
  patches: int
  taps: int = 1


@dataclasses.dataclass(frozen=True)
class Segment:
  """A conversation with its image, ready to take its place in a row.

  Attributes:
    conversation: the text.
    tiles: uint8 [i, height, width, 3].
    gather_index: int32 [v, K], patches of these tiles; i * P is the newline.
    gather_weight: float32 [v, K].
    before: int32 [v], ascending; a visual token stands before this token.
  """

  conversation: chat.Conversation
  tiles: np.ndarray
  gather_index: np.ndarray
  gather_weight: np.ndarray
  before: np.ndarray


def segment(
  conversation: chat.Conversation, tiles: np.ndarray, patches: int
) -> Segment:
  """One image, of which every patch of every tile is a visual token."""
  count = len(tiles) * patches
  return Segment(
    conversation,
    tiles,
    np.arange(count, dtype=np.int32)[:, None],
    np.ones((count, 1), np.float32),
    np.repeat(conversation.image_at, count),
  )


def pictured(conversation: chat.Conversation, opened, plans) -> Segment:
  """A conversation about images that are cut by their plans.

  Args:
    conversation: with as many places for images.
    opened: RGB images, see images.open_image.
    plans: of images.plans.

  Raises:
    ValueError: an image is of another size than its plan.
  """
  total, first = sum(p.tiles for p in plans), 0
  gather_index = [np.zeros((0, 4), np.int32)]  # there may be no image at all
  for p in plans:
    newline, patches = p.tiles * p.recipe.patches, p.recipe.patches
    gather_index.append(
      np.where(
        p.gather_index == newline,
        total * patches,
        p.gather_index + first * patches,
      )
    )
    first += p.tiles
  gather_index = np.concatenate(gather_index)
  gather_weight = [
    np.zeros((0, 4), np.float32),
    *(p.gather_weight for p in plans),
  ]
  tiles = [images.tiles(i, p) for i, p in zip(opened, plans, strict=True)]
  none = np.zeros((0, 1, 1, 3), np.uint8)  # goes with tiles of any size
  return Segment(
    conversation,
    np.concatenate(tiles) if tiles else none,
    gather_index,
    np.concatenate(gather_weight),
    np.repeat(np.array(conversation.image_at, int), [p.tokens for p in plans]),
  )


def row(segments, shape: Shape) -> dict[str, np.ndarray]:
  """Lays segments one behind the other.

  Args:
    segments: the Segments of one row.
    shape: slots there are.

  Returns:
    The fields of a Batch for one row, without the batch axis.

  Raises:
    ValueError: they need more slots than there are.
  """
  out = _empty(shape)
  text = visual = tiles = prompts = place = 0
  newline = shape.tiles * shape.patches
  for number, s in enumerate(segments, start=1):
    talk, v = s.conversation, len(s.gather_index)
    n, i, r = len(talk.tokens), len(s.tiles), len(talk.prompts)
    need = dict(
      text=text + n, visual=visual + v, tiles=tiles + i, prompts=prompts + r
    )
    for name, count in need.items():
      if count > getattr(shape, name):
        raise ValueError(
          f'a row has {getattr(shape, name)} {name} slots; its '
          f'conversations need {count}'
        )
    places = np.arange(n)
    places += place + np.searchsorted(s.before, places, side='right')
    out['tokens'][text : text + n] = talk.tokens
    out['answer'][text : text + n] = talk.answer
    out['text_segment'][text : text + n] = number
    out['text_place'][text : text + n] = places
    out['visual_segment'][visual : visual + v] = number
    out['visual_place'][visual : visual + v] = place + s.before + np.arange(v)
    out['tiles'][tiles : tiles + i] = s.tiles
    own_newline = s.gather_index == i * shape.patches
    out['gather_index'][visual : visual + v] = np.where(
      own_newline, newline, s.gather_index + tiles * shape.patches
    )
    out['gather_weight'][visual : visual + v] = s.gather_weight
    out['prompt_segment'][prompts : prompts + r] = number
    out['prompt_place'][prompts : prompts + r] = places[talk.prompts]
    text, visual, tiles, prompts = need.values()
    place += n + v
  # Padding takes the places that are left, so that places are a permutation.
  out['text_place'][text:] = place + np.arange(shape.text - text)
  out['visual_place'][visual:] = np.arange(
    place + shape.text - text, shape.text + shape.visual
  )
  return out


def _empty(shape):
  ints = lambda *dims: np.zeros(dims, np.int32)
  return dict(
    tokens=ints(shape.text),
    text_segment=ints(shape.text),
    text_place=ints(shape.text),
    answer=np.zeros(shape.text, bool),
    visual_segment=ints(shape.visual),
    visual_place=ints(shape.visual),
    tiles=np.zeros((shape.tiles, *shape.tile, 3), np.uint8),
    gather_index=ints(shape.visual, shape.taps),
    gather_weight=np.zeros((shape.visual, shape.taps), np.float32),
    prompt_segment=ints(shape.prompts),
    prompt_place=ints(shape.prompts),
  )


def stack(rows) -> batch_lib.Batch:
  """Rows of equal shape to a Batch."""
  return batch_lib.Batch(
    **{k: np.stack([r[k] for r in rows]) for k in batch_lib.NAMES}
  )


def halvings(batch: batch_lib.Batch, patches: int) -> int:
  """How often all slots of a batch can be halved and still hold its rows.

  At most HALVINGS times: few shapes are few programs.

  Args:
    batch: of numpy arrays.
    patches: of a tile.
  """
  need = [
    int(n.max()) for n in (batch.text(), batch.visual(), batch.used(patches))
  ]
  return max(
    times
    for times in range(HALVINGS + 1)
    if all(n <= have for n, have in zip(need, _slots(batch, times)))
  )


def halved(batch: batch_lib.Batch, times: int, patches: int) -> batch_lib.Batch:
  """The same rows in 1 / 2**times of the slots.

  Args:
    batch: of numpy arrays.
    times: at most its `halvings`.
    patches: of a tile.
  """
  text, visual, tiles = _slots(batch, times)
  slots = dict.fromkeys(
    ('tokens', 'answer', 'text_segment', 'text_place'), text
  )
  slots |= dict.fromkeys(
    ('visual_segment', 'visual_place', 'gather_index', 'gather_weight'), visual
  )
  slots['tiles'] = tiles
  cut = {name: getattr(batch, name)[:, :n] for name, n in slots.items()}

  def place(kind, padding):
    return np.where(
      cut[f'{kind}_segment'] > 0, cut[f'{kind}_place'], padding
    ).astype(np.int32)

  newline = cut['gather_index'] == batch.tiles.shape[1] * patches
  return dataclasses.replace(
    batch,
    **cut
    | dict(
      # What is left of the padding has the last places, text before visual.
      text_place=place('text', batch.visual()[:, None] + np.arange(text)),
      visual_place=place('visual', text + np.arange(visual)),
      gather_index=np.where(
        newline, np.int32(tiles * patches), cut['gather_index']
      ),
    ),
  )


def _slots(batch, times):
  """Of text, image and tiles, halved so often."""
  return [
    max(1, have >> times)
    for have in (
      batch.tokens.shape[1],
      batch.gather_index.shape[1],
      batch.tiles.shape[1],
    )
  ]
