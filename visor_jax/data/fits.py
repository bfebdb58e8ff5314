"""Which questions fit the slots that they are asked in: {text, visual, tiles}.

Height and width of the images and the words decide it, so it is known of all
questions before one is asked, or anything is trained.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from visor_jax.spec import batch as batch_lib


class TooLong(ValueError):
  """A question that needs more slots than a question has.

  Attributes:
    needed: {text, visual, tiles} that would hold it.
  """

  def __init__(self, needed: Mapping[str, int], slots: Mapping[str, int]):
    lacking = ' and '.join(
      f'{slots[name]} {name} slots for {needed[name]}'
      for name in slots
      if needed[name] > slots[name]
    )
    super().__init__(
      f'a row has {lacking} that the question needs; slots are set by '
      'data.prompt'
    )
    self.needed = dict(needed)


@dataclasses.dataclass(frozen=True)
class Fit:
  """Which questions of a stream can be asked, known before any is.

  Attributes:
    stream: name of the stream.
    wanted: questions that were asked for, the first of the stream.
    count: those of them that it has: it asks no record twice.
    too_long: numbers of those that need more slots than a question has.
    needed: {text, visual, tiles} that would hold all of them.
    slots: those that a question has.
    broken: numbers of those whose record is broken, so that another is asked.
  """

  stream: str
  wanted: int
  count: int
  too_long: tuple[int, ...]
  needed: Mapping[str, int]
  slots: Mapping[str, int]
  broken: tuple[int, ...] = ()

  @property
  def numbers(self) -> tuple[int, ...]:
    """Of the questions that can be asked, in order."""
    too_long = set(self.too_long)
    return tuple(i for i in range(self.count) if i not in too_long)

  def notes(self) -> tuple[str, ...]:
    """A line for whatever keeps questions from being asked; () for nothing."""
    notes = []
    if self.count < self.wanted:
      notes.append(
        f'{self.stream} has {self.count} questions, each asked once; '
        f'{self.wanted} were asked for'
      )
    if self.too_long:
      needed = ', '.join(f'{name}={n}' for name, n in self.needed.items())
      notes.append(
        f'{len(self.too_long)} of {self.count} questions of {self.stream} do '
        f'not fit data.prompt; {needed} would hold all'
      )
    if self.broken:
      notes.append(
        f'{len(self.broken)} of {self.count} questions of {self.stream} are of '
        'broken records; others are asked instead'
      )
    return tuple(notes)


def row_slots(shape: batch_lib.RowShape) -> dict[str, int]:
  """{text, visual, tiles} of a row."""
  return dict(text=shape.text, visual=shape.visual, tiles=shape.tiles)


def fit(
  stream: str,
  wanted: int,
  needed: Sequence[Mapping[str, int]],
  shape: batch_lib.RowShape,
  broken: tuple[int, ...] = (),
) -> Fit:
  """Which questions fit a row.

  Args:
    stream: name of theirs.
    wanted: questions that were asked for.
    needed: {text, visual, tiles} of each that there is.
    shape: slots of the row.
    broken: numbers of those that stand for a broken record.
  """
  slots = row_slots(shape)
  too_long = tuple(
    number
    for number, question in enumerate(needed)
    if any(question[name] > slots[name] for name in slots)
  )
  most = {
    name: max((question[name] for question in needed), default=0)
    for name in slots
  }
  return Fit(stream, wanted, len(needed), too_long, most, slots, broken)


def require(needed: Mapping[str, int], shape: batch_lib.RowShape) -> None:
  """Whether a question fits a row.

  Raises:
    TooLong: it needs more slots than the row has.
  """
  slots = row_slots(shape)
  if any(needed[name] > slots[name] for name in slots):
    raise TooLong(needed, slots)
