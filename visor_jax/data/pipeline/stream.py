"""Rows of conversations from sources, for `loader.batches`.

  order = order_lib.Order(seed, map(len, sources), weights)
  needs = stream.lengths(sources, tokenizer, recipe, stream.Tally())
  packed = windows.Windows(order, needs, shape, draws=1024, rows=233)
  load = stream.training(packed, sources, tokenizer, recipe, stream.Tally())
  for batch, _ in loader.batches(load, ...)

A record that cannot be used becomes padding: its row loses a segment and the
rest of the run stays as it is. Which rows there are never depends on it.
"""

import collections
import threading

import numpy as np

from visor_jax.data.pipeline import bin_packing as windows_lib
from visor_jax.data.processing import chat
from visor_jax.data.processing import images
from visor_jax.data.processing import packing
from visor_jax.data.sources import records


class BadRecordCounter:
  """Counts the bad among the records that were asked for.

  Planning and loading want one each: every host plans all rows but loads its
  own, so that in a sum of both the share of bad images would be diluted.

  Attributes:
    seen: how many records were asked for.
    bad: Counter of (source, reason).
    first: what the first few bad ones said.

  Args:
    share: of records that may be bad.
    least: no share is taken of fewer records.
  """

  def __init__(self, share: float = 0.01, least: int = 1000):
    self.share, self.least = share, least
    self.seen, self.bad, self.first = 0, collections.Counter(), []
    self._lock = threading.Lock()

  def count(self, source: str, error: ValueError | None = None) -> None:
    """Counts one record of a source.

    Args:
      source: its name.
      error: why it cannot be used, or None; a BadRecord tells its reason.

    Raises:
      records.TooManyBad: they are more than `share` of at least `least`.
    """
    with self._lock:
      self.seen += 1
      if error is not None:
        self.bad[source, getattr(error, 'reason', 'other')] += 1
        if len(self.first) < 5:
          self.first.append(f'{source}: {error}')
      bad = self.bad.total()
      if self.seen >= self.least and bad > self.share * self.seen:
        counts = ', '.join(
          f'{name}: {reason} {n}'
          for (name, reason), n in self.bad.most_common()
        )
        raise records.TooManyBad(
          f'{bad} of {self.seen} records are bad, more than a share of '
          f'{self.share}: {counts}. The first: {"; ".join(self.first)}'
        )


def lengths(sources, tokenizer, recipe: images.Recipe, tally: BadRecordCounter):
  """`lengths` for `windows.Windows`, from the text and the images' sizes.

  Every host asks for those of all records, so no image is read for them.

  Args:
    sources: sequences of records.Raw, each with a `name`.
    tokenizer: text.Tokenizer.
    recipe: of the images.
    tally: counts the records that are planned.
  """

  def needs(source, index):
    try:
      found = _needs(sources[source].outline(index), tokenizer, recipe)
    except ValueError as e:
      tally.count(sources[source].name, e)
      return np.zeros((0, len(windows_lib.SLOTS)), int)
    tally.count(sources[source].name)
    return found

  return needs


def training(
  windows: windows_lib.Windows,
  sources,
  tokenizer,
  recipe: images.Recipe,
  tally: BadRecordCounter,
):
  """A `load` of packed rows for `loader.batches`.

  Args:
    windows: the run's.
    sources: as for `lengths`.
    tokenizer: text.Tokenizer.
    recipe: of the images.
    tally: counts the records that are loaded.
  """

  def load(number):
    segments = []
    for piece in windows.row(number):
      source = sources[piece.draw.source]
      try:
        segments.append(
          segment(source[piece.draw.index], piece.turns, tokenizer, recipe)
        )
      except ValueError as e:
        tally.count(source.name, e)
      else:
        tally.count(source.name)
    return packing.row(segments, windows.shape), None

  return load


def segment(
  raw: records.Raw, turns: int, tokenizer, recipe: images.Recipe
) -> packing.Segment:
  """A record's first turns, with their images decoded and cut to tiles.

  Args:
    raw: the record.
    turns: how many.
    tokenizer: text.Tokenizer.
    recipe: of the images.

  Raises:
    records.BadRecord: an image cannot be decoded or is of another size than the
      record says.
    ValueError: the record is one that the tokenizer refuses.
  """
  return _pictured(raw, _first(_talk(raw, tokenizer), turns), recipe)


def prompt(
  raw: records.Raw, tokenizer, recipe: images.Recipe
) -> packing.Segment:
  """A record's first question alone, with the images before it.

  Args:
    raw: the record.
    tokenizer: text.Tokenizer.
    recipe: of the images.

  Raises:
    as `segment` does.
  """
  talk = _talk(raw, tokenizer)
  return _pictured(raw, _cut(talk, talk.prompts[0] + 1, 1), recipe)


def _pictured(raw, talk, recipe):
  plans = images.plans(recipe, raw.sizes[: len(talk.image_at)])
  try:
    opened = [images.open_image(i) for i, _ in zip(raw.images, plans)]
    return packing.pictured(talk, opened, plans)
  except ValueError as e:
    raise records.BadRecord('broken image', str(e), raw.id) from e


def _needs(raw, tokenizer, recipe):
  """int [turns, 4], see `windows.Windows`."""
  talk, found = _talk(raw, tokenizer), []
  for turns in range(1, len(raw.turns) + 1):
    part = _first(talk, turns)
    plans = images.plans(recipe, raw.sizes[: len(part.image_at)])
    found.append(
      (
        len(part.tokens),
        sum(p.tokens for p in plans),
        sum(p.tiles for p in plans),
        len(part.prompts),
      )
    )
  return np.array(found)


def _talk(raw, tokenizer):
  """The whole conversation."""
  records.check(raw)
  return tokenizer.conversation(raw.turns, len(raw.sizes))


def _first(talk, turns):
  """The first turns of a chat.Conversation, and the images before their end."""
  if turns == len(talk.prompts):
    return talk
  over = talk.answer & ~np.append(talk.answer[1:], False)
  return _cut(talk, np.flatnonzero(over)[turns - 1] + 1, turns)


def _cut(talk, end, turns):
  """What stands before token `end`."""
  return chat.Conversation(
    talk.tokens[:end],
    talk.answer[:end],
    tuple(at for at in talk.image_at if at < end),
    talk.prompts[:turns],
  )
