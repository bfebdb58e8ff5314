"""What the jobs of a run have left for those after them, read back."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import pathlib
from typing import Any

from visor_jax.runtime import checksums
from visor_jax.runtime import claim
from visor_jax.runtime import errors
from visor_jax.spec import budget
from visor_jax.spec import choice
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib

# A row of labels.jsonl, see jobs/labels.py.
Label = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Calibration:
  """How sure the router must be, see jobs/calibrate.py.

  Attributes:
    confidence: where no target is given; None for the likeliest plan.
    curve: what each confidence gives, from the cheapest plan always to the
      largest.
  """

  confidence: float | None
  curve: tuple[budget.Point, ...] = ()

  def confidence_for(
    self, selection: plans.Selection
  ) -> float | budget.Mix | None:
    """What a router asks for, with or without a target.

    Raises:
      ValueError: the target cannot be met, or there is no curve.
    """
    return budget.confidence(selection, self.curve, self.confidence)


@errors.refusals()
def viable_plans(
  workdir: workdir_lib.Workdir, layout: plans.Layout
) -> tuple[plans.Plan, ...]:
  """The plans that the search job chose, by cost.

  Args:
    workdir: of the run.
    layout: whose plans they are.

  Raises:
    Refusal: it has not run, or its file is torn.
  """
  path = claim.require(workdir.plans, 'search')
  values = checksums.read_object(path, 'viable')
  with _naming(path):
    return choice.viable_plans(values['viable'], layout)


@errors.refusals()
def labels(
  workdir: workdir_lib.Workdir,
  viable: Sequence[plans.Plan],
  questions: Sequence[int],
) -> list[Label]:
  """The rows of labels.jsonl.

  Args:
    workdir: of the run.
    viable: plans by cost, which the labels must be of.
    questions: numbers of those that have a row each, in order.

  Raises:
    Refusal: the label job has not run, its file is torn or of other plans.
  """
  path = claim.require(workdir.labels, 'label')
  rows, expected = [], iter(questions)
  for location, row in checksums.read_rows(path):
    with _naming(location):
      _check_label(row, viable, next(expected, None))
    rows.append(row)
  for missing in expected:
    raise ValueError(
      f'{path} ends before question {missing}, one of {len(questions)} to '
      'label; run the label job again'
    )
  return rows


@errors.refusals()
def check_router(
  workdir: workdir_lib.Workdir, viable: Sequence[plans.Plan]
) -> None:
  """Whether the router that a run has calibrated, if any, is of these plans.

  Args:
    workdir: of the run.
    viable: plans by cost.

  Raises:
    Refusal: it has learned to choose among others.
  """
  path = workdir.calibration
  values = checksums.intact(path, lambda: checksums.read_object(path))
  with _naming(path):
    _check_router_plans(values or {}, viable)


@errors.refusals()
def calibration(
  workdir: workdir_lib.Workdir, viable: Sequence[plans.Plan]
) -> Calibration:
  """How sure the router of a run must be.

  Args:
    workdir: of the run.
    viable: plans by cost, which the router must be of.

  Raises:
    Refusal: the policy job has not run, its file is torn or of other plans.
  """
  path = claim.require(workdir.calibration, 'policy')
  values = checksums.read_object(path, 'confidence', 'curve')
  with _naming(path):
    _check_router_plans(values, viable)
    choice.check_confidence(values['confidence'])
    curve = tuple(
      budget.Point(*(point.get(field) for field in budget.Point._fields))
      for point in values['curve']
    )
    choice.check_curve(curve)
  return Calibration(values['confidence'], curve)


@contextlib.contextmanager
def _naming(where: pathlib.Path | str) -> Iterator[None]:
  """Says in which file a value stands that cannot be."""
  try:
    yield
  except (ValueError, TypeError, AttributeError) as e:
    raise ValueError(f'{where}: {e}') from None


def _check_plans(
  names: Any, viable: Sequence[plans.Plan], what: str, remedy: str
) -> None:
  """Raises a ValueError unless the plans that a file names are viable."""
  expected = [plans.name(plan) for plan in viable]
  if names != expected:
    listed = ', '.join(map(str, names if isinstance(names, list) else [names]))
    raise ValueError(
      f'{what} of plans {listed}; viable are {", ".join(expected)}; {remedy}'
    )


def _check_router_plans(
  values: Mapping[str, Any], viable: Sequence[plans.Plan]
) -> None:
  if 'plans' in values:  # older calibrations do not say
    remedy = 'remove the folder policy and run the policy job again'
    _check_plans(values['plans'], viable, 'the router is', remedy)


def _check_label(
  row: Label, viable: Sequence[plans.Plan], question: int | None
) -> None:
  """Raises a ValueError unless it is the label of a question."""
  scores, flops, label = (row.get(key) for key in ('scores', 'flops', 'label'))
  if row.get('index') != question:
    raise ValueError(
      f'"index" is {row.get("index")!r}; expected '
      + ('no more labels' if question is None else f'question {question}')
      + '; run the label job again'
    )
  if not isinstance(row.get('family'), str) or 'id' not in row:
    raise ValueError(
      f'"family" is {row.get("family")!r} and "id" {row.get("id")!r}; expected '
      'the name of its source and that of its record; run the label job again'
    )
  if 'plans' not in row:
    raise ValueError(
      'it does not say which plans its scores are of, as older labels; run the '
      'label job again, which keeps the answers that are there'
    )
  _check_plans(row['plans'], viable, 'labels are', 'run the label job again')
  count = len(viable)
  total = row.get('total_flops', flops)  # of older labels, none
  for key, values, fits, numbers in (
    ('scores', scores, choice.is_share, 'numbers from 0 to 1'),
    ('flops', flops, choice.is_cost, 'finite numbers above 0'),
    ('total_flops', total, choice.is_cost, 'finite numbers above 0'),
  ):
    if (
      not isinstance(values, list)
      or len(values) != count
      or not all(map(fits, values))
    ):
      raise ValueError(
        f'"{key}" is {values!r}; expected {count} {numbers}, one for each '
        'viable plan; run the label job again'
      )
  if label is not None and label not in range(count):
    raise ValueError(
      f'"label" is {label!r}; expected null or the number of one of {count} '
      'viable plans, from 0; run the label job again'
    )
