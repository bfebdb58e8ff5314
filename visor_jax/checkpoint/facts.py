"""What a checkpoint knows of itself beside its parameters."""

import dataclasses
import pathlib
from typing import Any

from visor_jax.runtime import errors
from visor_jax.runtime import param_paths
from visor_jax.runtime import paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import budget
from visor_jax.spec import choice
from visor_jax.spec import plan as plans

FORMAT = 2
PROCESSOR = 'hf'  # in a checkpoint folder: tokenizer, template, configs

# What VISOR adds to a base, and what the paths of its parameters begin with.
CROSS, ROUTER = 'cross', 'router'
_PREFIXES = {'llm/cross/': CROSS, 'router/': ROUTER}
DECODER = 'decoder'  # of the base, where it learned together with CROSS layers

# A parameter of each, whatever options it has.
EXAMPLES = {
  'llm/cross/out': CROSS,
  'router/bias': ROUTER,
  'llm/layers/attention/out': DECODER,
}


@dataclasses.dataclass(frozen=True)
class Facts:
  """About a checkpoint; visor.json, and `visor` in an export's config.json.

  Attributes:
    architecture: the model's; its layout is the base's, every layer SELF,
      where no CROSS layer has been trained.
    viable: plans, cheapest first; the router's outputs in this order.
    confidence: the router's, see models.router.choose.
    trained: what has learned beyond the base, of CROSS, DECODER and ROUTER.
    curve: of the router's calibration, see spec/budget.py.
    transparency: what lay behind transparent images in training, see
      data.sources.image_files.GROUNDS; '' where nobody says.
  """

  architecture: architecture_lib.Architecture
  viable: tuple[plans.Plan, ...] = ()
  confidence: float | None = None
  trained: tuple[str, ...] = ()
  curve: tuple[budget.Point, ...] = ()
  transparency: str = ''

  def holds(self, path: str) -> bool:
    """Whether a parameter is the base's, or has been trained."""
    return all(
      part in self.trained
      for prefix, part in _PREFIXES.items()
      if path.startswith(prefix)
    )

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

  @property
  def processor(self) -> pathlib.Path | None:
    """Folder of tokenizer, chat template and configs, if there is one."""
    folder = paths.parse(self.origin) / PROCESSOR
    if not self.origin or not folder.exists():
      return None
    return paths.local_copy(folder)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """A checkpoint in memory.

  Attributes:
    params: nested; `llm/cross` and `router` only where they have been trained.
    facts: about them.
    processor: folder of tokenizer, chat template and configs, if there is one.
  """

  params: param_paths.Params
  facts: Facts
  processor: pathlib.Path | None


def from_json(values: dict[str, Any], where: pathlib.Path | str) -> Facts:
  """The inverse of `Facts.to_json`; other keys are left alone.

  Args:
    values: as read from a file.
    where: the file, for errors.

  Raises:
    ValueError: it is of another format, broken, or says what cannot be.
  """
  if values.get('format') != FORMAT:
    raise errors.Refusal(
      f'{where} is of format {values.get("format")!r}; this '
      f'version of visor_jax reads format {FORMAT}'
    )
  try:
    architecture = architecture_lib.from_json(values['architecture'])
    viable = values['viable']
    if viable:
      viable = choice.viable_plans(viable, architecture.layout)
    choice.check_confidence(values['confidence'])
    curve = tuple(budget.Point(*point) for point in values['curve'])
    choice.check_curve(curve)
    return Facts(
      architecture=architecture,
      viable=tuple(viable),
      confidence=values['confidence'],
      trained=tuple(values['trained']),
      curve=curve,
      transparency=values.get('transparency', ''),
    )
  except KeyError as e:
    raise errors.Refusal(f'{where} lacks {e}') from None
  except (AttributeError, IndexError, TypeError, ValueError) as e:
    raise errors.Refusal(f'{where}: {e}') from None
