"""What an analysis adds to the page."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from visor_jax.report import colours

# What `python -m visor_jax.analysis` measured, as its file holds it.
Numbers = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Section:
  """Drawings under a title.

  Attributes:
    title: plain text.
    drawings: <svg> elements.
    caption: what to see in them, plain text.
    legend: {name: colour}, empty for none.
  """

  title: str
  drawings: Sequence[str]
  caption: str
  legend: colours.Palette = dataclasses.field(default_factory=dict)
