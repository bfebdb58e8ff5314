"""What a checkpoint knows of itself beside its parameters."""

import dataclasses
import pathlib
from typing import Any

from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans

FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Facts:
  """About a checkpoint; visor.json, and `visor` in an export's config.json.

  Attributes:
    architecture: the model's; its layout is the base's, every layer SELF,
      where no CROSS layer has weights.
    viable: plans, cheapest first; the router's outputs in this order.
    confidence: the router's, see models.router.choose.
    trained: what has learned beyond the base, of 'cross' and 'router'.
    curve: of the router's calibration, see spec/budget.py.
  """

  architecture: architecture_lib.Architecture
  viable: tuple[plans.Plan, ...] = ()
  confidence: float | None = None
  trained: tuple[str, ...] = ()
  curve: tuple[budget.Point, ...] = ()

  def to_json(self) -> dict[str, Any]:
    """Plain values; plans as lists of 0 and 1."""
    values = {'format': FORMAT} | dataclasses.asdict(self)
    values['viable'] = [[int(on) for on in plan] for plan in self.viable]
    return values


@dataclasses.dataclass(frozen=True)
class Location:
  """A checkpoint folder, or a run that has come to be one, unread.

  Attributes:
    facts: about the weights.
    origin: checkpoint folder with the tokenizer (hf/); '' for a run that
      started from none.
    weights: folder of the step.
  """

  facts: Facts
  origin: str
  weights: pathlib.Path


def from_json(values: dict[str, Any], where: pathlib.Path | str) -> Facts:
  """The inverse of `to_json`; other keys are left alone.

  Args:
    values: as read from a file.
    where: the file, for errors.

  Raises:
    ValueError: it is of another format.
  """
  if values.get('format') != FORMAT:
    raise ValueError(
      f'{where} is of format {values.get("format")!r}; this '
      f'version of visor_jax reads format {FORMAT}'
    )
  return Facts(
    architecture=architecture_lib.from_json(values['architecture']),
    viable=tuple(tuple(bool(on) for on in plan) for plan in values['viable']),
    confidence=values['confidence'],
    trained=tuple(values['trained']),
    curve=tuple(budget.Point(*point) for point in values['curve']),
  )
