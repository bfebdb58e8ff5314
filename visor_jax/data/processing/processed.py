"""What a record is between a checkpoint's processor and a row of a batch."""

import dataclasses
import functools
from typing import NamedTuple
from typing import Protocol

import numpy as np


@dataclasses.dataclass(frozen=True)
class Conversation:
  """A record's text in tokens.

  Attributes:
    tokens: int32 [n].
    answer: bool [n]; tokens that the model should produce.
    image_at: for each image the index of the token that its visual tokens stand
      before.
    prompts: int32 [turns]; index of the last token of each prompt.
  """

  tokens: np.ndarray
  answer: np.ndarray
  image_at: tuple[int, ...]
  prompts: np.ndarray


def cut(conversation: Conversation, end: int, turns: int) -> Conversation:
  """What stands before token `end`."""
  return Conversation(
    conversation.tokens[:end],
    conversation.answer[:end],
    tuple(at for at in conversation.image_at if at < end),
    conversation.prompts[:turns],
  )


class ImagePlan(Protocol):
  """How an image of one size becomes visual tokens.

  Attributes:
    tiles: how many it is cut to.
    tokens: visual tokens, V.
    tile_grid: int32 [tiles, 2], see batch.Batch.
    gather_index: int32 [V, K]; the patches, in order of tiles, that are summed
      into a token; tiles * P is the newline.
    gather_weight: float32 [V, K].
  """

  @property
  def tiles(self) -> int: ...

  @property
  def tokens(self) -> int: ...

  @property
  def tile_grid(self) -> np.ndarray: ...

  @property
  def gather_index(self) -> np.ndarray: ...

  @property
  def gather_weight(self) -> np.ndarray: ...


def smaller(height: int, width: int, side: int) -> tuple[int, int]:
  """Height and width, of which the longer one becomes at most `side` pixels."""
  longest = max(height, width, side)
  return max(1, round(height * side / longest)), max(
    1, round(width * side / longest)
  )


class CutImage(NamedTuple):
  """What an image becomes.

  Attributes:
    tiles: uint8 [tiles, height, width, 3].
    plan: how they become visual tokens.
  """

  tiles: np.ndarray
  plan: ImagePlan


@dataclasses.dataclass(frozen=True)
class PatchPlan:
  """Every patch of every tile is a visual token; an ImagePlan.

  Attributes:
    patches: P of a tile.
    tiles: of the image, which stand alone.
  """

  patches: int
  tiles: int = 1

  @property
  def tokens(self) -> int:
    """V."""
    return self.tiles * self.patches

  @property
  def tile_grid(self) -> np.ndarray:
    """int32 [tiles, 2]."""
    return np.zeros((self.tiles, 2), np.int32)

  @functools.cached_property
  def gather_index(self) -> np.ndarray:
    """int32 [V, 1]; the patches in order."""
    return np.arange(self.tokens, dtype=np.int32)[:, None]

  @functools.cached_property
  def gather_weight(self) -> np.ndarray:
    """float32 [V, 1]; all of each."""
    return np.ones((self.tokens, 1), np.float32)


@dataclasses.dataclass(frozen=True)
class PartPlan(PatchPlan):
  """Some patches are visual tokens; an ImagePlan.

  Attributes:
    index: of these patches, in order of tiles.
  """

  index: tuple[int, ...] = ()

  @property
  def tokens(self) -> int:
    """V."""
    return len(self.index)

  @functools.cached_property
  def gather_index(self) -> np.ndarray:
    """int32 [V, 1]; the patches."""
    return np.array(self.index, np.int32)[:, None]


def first_turns(conversation: Conversation, turns: int) -> Conversation:
  """The first turns, and the images before their end."""
  if turns == len(conversation.prompts):
    return conversation
  answer = conversation.answer
  ends = np.flatnonzero(answer & ~np.append(answer[1:], False))
  return cut(conversation, ends[turns - 1] + 1, turns)
