"""Which questions fit the slots that they are asked in: {text, visual, tiles}.

Height and width of the images and the words decide it, so it is known of all
questions before one is asked, or anything is trained.
"""

from collections.abc import Mapping
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
    count: those of them that it has.
    too_long: numbers of those that need more slots than a question has.
    needed: {text, visual, tiles} that would hold all of them.
    slots: those that a question has.
    broken: {number: what is wrong} of those whose record is broken.
    repeated: numbers of those whose record an earlier one has.
  """

  stream: str
  wanted: int
  count: int
  too_long: tuple[int, ...]
  needed: Mapping[str, int]
  slots: Mapping[str, int]
  broken: Mapping[int, str] = dataclasses.field(default_factory=dict)
  repeated: tuple[int, ...] = ()

  @property
  def numbers(self) -> tuple[int, ...]:
    """Of the questions that can be asked, in order."""
    left_out = {*self.too_long, *self.broken, *self.repeated}
    return tuple(i for i in range(self.count) if i not in left_out)

  @property
  def left_out(self) -> dict[str, int]:
    """How many questions are not asked, by the reason."""
    reasons = dict(
      too_long=self.too_long, broken=self.broken, repeated=self.repeated
    )
    return {reason: len(numbers) for reason, numbers in reasons.items()}

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
      first = next(iter(self.broken.values()))
      notes.append(
        f'{len(self.broken)} of {self.count} questions of {self.stream} are of '
        f'broken records; the first: {first}'
      )
    if self.repeated:
      notes.append(
        f'{len(self.repeated)} of {self.count} questions of {self.stream} are '
        'asked before, of the same record'
      )
    return tuple(notes)


def row_slots(shape: batch_lib.RowShape) -> dict[str, int]:
  """{text, visual, tiles} of a row."""
  return dict(text=shape.text, visual=shape.visual, tiles=shape.tiles)


def fit(
  stream: str,
  wanted: int,
  needed: Mapping[int, Mapping[str, int]],
  shape: batch_lib.RowShape,
  broken: Mapping[int, str] | None = None,
  repeated: tuple[int, ...] = (),
) -> Fit:
  """Which questions fit a row.

  Args:
    stream: name of theirs.
    wanted: questions that were asked for.
    needed: {number: {text, visual, tiles}} of those whose record is whole.
    shape: slots of the row.
    broken: {number: what is wrong} of the others.
    repeated: numbers of those whose record an earlier one has.
  """
  slots, broken = row_slots(shape), broken or {}
  return Fit(
    stream=stream,
    wanted=wanted,
    count=len(needed) + len(broken),
    too_long=tuple(
      number
      for number, question in needed.items()
      if any(question[name] > slots[name] for name in slots)
    ),
    needed={
      name: max((question[name] for question in needed.values()), default=0)
      for name in slots
    },
    slots=slots,
    broken=broken,
    repeated=repeated,
  )


def require(needed: Mapping[str, int], shape: batch_lib.RowShape) -> None:
  """Whether a question fits a row.

  Raises:
    TooLong: it needs more slots than the row has.
  """
  slots = row_slots(shape)
  if any(needed[name] > slots[name] for name in slots):
    raise TooLong(needed, slots)
