"""Where tokens stand, and what layers keep of them.

The sequence is cut into text and image, because most layers run on the text
alone. A place is where a token stands in the sequence, a position is counted
without padding.

Legend: B batch, S sequence, T text, V visual, D width, N heads, H head width.
"""

from collections.abc import Iterator
import itertools
from typing import NamedTuple

import torch
from transformers import cache_utils
from transformers.models.qwen2 import modeling_qwen2

NOWHERE = torch.iinfo(torch.long).max  # place of padding, which nobody sees

Keys = tuple[torch.Tensor, torch.Tensor]  # key and value, [B, heads, S, H] each


class Slots(NamedTuple):
  """Where tokens stand: places [B, T], and their rotary embedding."""

  place: torch.Tensor
  cos: torch.Tensor  # [B, T, H], of their positions
  sin: torch.Tensor

  @property
  def last(self) -> torch.Tensor:
    """The last token of each row that is no padding, [B, 1]."""
    return (self.place != NOWHERE).sum(1, keepdim=True) - 1

  def rotate(self, x: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of [B, N, T, H]."""
    turned = modeling_qwen2.rotate_half(x)
    return x * self.cos[:, None] + turned * self.sin[:, None]


class Layout(NamedTuple):
  """Where the tokens stand that flow through the layers, and what they see."""

  text: Slots
  text_keys: torch.Tensor  # places of the keys of TEXT and CROSS layers
  all_keys: torch.Tensor  # and of SELF layers
  visual: torch.Tensor  # [B, V], places of the images
  # Of a prompt, whose images flow with it:
  images: Slots | None = None
  all: Slots | None = None  # text and images in order
  order: torch.Tensor | None = (
    None  # out of text and images, one then the other
  )


class Cache(cache_utils.DynamicCache):
  """What layers keep: TEXT and CROSS no keys of images, SELF those of all.

  Attributes:
    cross: {layer: what it reads of the images}, of CROSS layers.
    places: of keys: text_keys, all_keys and visual of a Layout.
    length: tokens read, images and padding included.
  """

  def __init__(self) -> None:
    super().__init__()
    self.cross: dict[int, Keys] = {}
    self.places: tuple[torch.Tensor, ...] = ()
    self.length = 0

  def get_seq_length(self, layer_idx: int = 0) -> int:
    """As `length`: layers have different numbers of keys."""
    del layer_idx
    return self.length

  def reorder_cache(self, beam_idx: torch.Tensor) -> None:
    """The rows of other beams."""
    super().reorder_cache(beam_idx)
    self.places = tuple(x[beam_idx] for x in self.places)
    for layer, (key, value) in self.cross.items():
      self.cross[layer] = key[beam_idx], value[beam_idx]


def places(chosen: torch.Tensor) -> torch.Tensor:
  """bool [B, S] -> [B, T], where those stand in order, then padding."""
  place = torch.arange(chosen.shape[1], device=chosen.device)
  place = torch.where(chosen, place, NOWHERE).sort(1).values
  return place[:, : int(chosen.sum(1).max())]


def positions(valid: torch.Tensor) -> torch.Tensor:
  """[B, S], of tokens; `valid` are no padding."""
  return (valid.cumsum(1) - 1).clamp(min=0)


def sees(place: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
  """Who sees whom, by places: those not behind it; bool [B, 1, T, keys]."""
  return (keys[:, None] <= place[..., None])[:, None]


def take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
  """[B, S, D] -> [B, T, D], token index[b, t] of each row."""
  return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def spread(x: torch.Tensor, place: torch.Tensor, count: int) -> torch.Tensor:
  """[B, T, D] -> [B, count, D], each token at its place, zeros elsewhere."""
  out = x.new_zeros(len(x), count + 1, x.shape[-1])  # the last: of no use
  index = torch.where((place < 0) | (place > count), count, place)
  return out.scatter_(1, index[..., None].expand_as(x), x)[:, :count]


def runs(place: torch.Tensor) -> Iterator[tuple[int, int]]:
  """Where tokens of a row, [V], stand side by side: start and stop of each."""
  place = place[place != NOWHERE]
  starts = 1 + (torch.diff(place) != 1).nonzero().flatten()
  return itertools.pairwise([0, *starts.tolist(), len(place)])
