"""What the jobs of a run have left for those after them, read back."""

import dataclasses
from typing import Any

from visor_jax.runtime import claim
from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.spec import budget
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
def viable_plans(workdir: workdir_lib.Workdir) -> tuple[plans.Plan, ...]:
  """The plans that the search job chose, by cost.

  Raises:
    Refusal: it has not run.
  """
  path = claim.require(workdir.plans, 'search')
  return tuple(
    tuple(map(bool, plan)) for plan in files.read_json(path)['viable']
  )


@errors.refusals()
def labels(workdir: workdir_lib.Workdir) -> list[Label]:
  """The rows of labels.jsonl.

  Raises:
    Refusal: the label job has not run.
  """
  return files.read_jsonl(claim.require(workdir.labels, 'label'))


@errors.refusals()
def calibration(workdir: workdir_lib.Workdir) -> Calibration:
  """How sure the router of a run must be.

  Raises:
    Refusal: the policy job has not run.
  """
  path = claim.require(workdir.calibration, 'policy')
  values = files.read_json(path)
  return Calibration(
    values['confidence'],
    tuple(
      budget.Point(point['confidence'], point['share'], point['accuracy'])
      for point in values['curve']
    ),
  )
