"""What the parameters of a checkpoint do not say themselves."""

import dataclasses

from visor_jax.models import cross_attention as cross_lib
from visor_jax.models import router as router_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Facts:
  """About a checkpoint; visor.json, and `visor` in an export's config.json.

  Attributes:
    size: of the base model.
    layout: the base's, every layer SELF, where no CROSS layer has weights.
    cross: of the CROSS layers.
    router: of the router.
    viable: plans, cheapest first; the router's outputs in this order.
    confidence: the router's, see models.router.choose.
    trained: what has learned beyond the base, of 'cross' and 'router'.
    curve: of the router's calibration, see budget.py.
  """

  size: sizes.Size
  layout: plans.Layout
  cross: cross_lib.Options = cross_lib.Options()
  router: router_lib.Options = router_lib.Options()
  viable: tuple[plans.Plan, ...] = ()
  confidence: float | None = None
  trained: tuple[str, ...] = ()
  curve: tuple[budget.Point, ...] = ()

  def to_json(self) -> dict:
    """Plain values; plans as lists of 0 and 1."""
    found = {'format': FORMAT} | dataclasses.asdict(self)
    found['viable'] = [[int(on) for on in p] for p in self.viable]
    return found


def from_json(read: dict, where) -> Facts:
  """The inverse of `to_json`; other keys are left alone.

  Args:
    read: what was read.
    where: for errors.

  Raises:
    ValueError: it is of another format.
  """
  if read.get('format') != FORMAT:
    raise ValueError(
      f'{where} is of format {read.get("format")!r}; this '
      f'version of visor_jax reads format {FORMAT}'
    )
  layout = read['layout']
  return Facts(
    sizes.from_json(read['size']),
    plans.Layout(tuple(layout['kinds']), tuple(layout['optional'])),
    cross_lib.Options(**read['cross']),
    router_lib.Options(**read['router']),
    tuple(tuple(bool(on) for on in p) for p in read['viable']),
    read['confidence'],
    tuple(read['trained']),
    tuple(budget.Point(*p) for p in read.get('curve', ())),
  )
