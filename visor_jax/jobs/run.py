"""A run: its config and workdir, and whom its jobs ask.

A checkpoint that is given (eval.checkpoint) is one that `convert import` wrote,
or the workdir of another run; its own workdir then only has answers and report.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

from jax.sharding import Mesh
import ml_collections

from visor_jax.checkpoint import load
from visor_jax.checkpoint import resolve
from visor_jax.data import protocols
from visor_jax.eval import generate
from visor_jax.eval import run as run_lib
from visor_jax.jobs import order
from visor_jax.jobs import test_sets as test_sets_lib
from visor_jax.runtime import errors
from visor_jax.runtime import identity
from visor_jax.runtime import outcomes
from visor_jax.runtime import provenance
from visor_jax.spec import budget
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import model as model_lib
from visor_jax.training import targets
from visor_jax.training import weights


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """What a job works with.

  Parameters that it has restored are kept as long as it is: a job gets a Run of
  its own.

  Attributes:
    config: the whole config.
    workdir: the files that its jobs leave, and those of the jobs before them.
    mesh: devices that it runs on.
    suite: where questions and rows to learn from come from; None where no job
      needs any.
    tests: what the eval job asks.
    before: the workdir of the jobs before it, where that is another one.
  """

  config: ml_collections.ConfigDict
  workdir: workdir_lib.Workdir
  mesh: Mesh
  suite: protocols.Suite | None = None
  tests: Sequence[test_sets_lib.TestSet] = ()
  before: workdir_lib.Workdir | None = None

  @functools.cached_property
  def viable(self) -> tuple[plans.Plan, ...]:
    """Plans by cost: of the checkpoint that is evaluated, or of the search.

    Raises:
      ValueError: the search job has not run.
    """
    if self.config.eval.checkpoint:
      return load.locate(self.config.eval.checkpoint).facts.viable
    return outcomes.viable_plans(
      self.before or self.workdir, resolve.architecture(self.config).layout
    )

  @property
  def labels(self) -> list[outcomes.Label]:
    """The cheapest plan that is right, question by question.

    Raises:
      ValueError: the label job has not run.
    """
    examples = self.config.label.examples
    return outcomes.labels(
      self.before or self.workdir,
      self.viable,
      self.require_suite().fit('label', examples).numbers,
    )

  @property
  def stamp(self) -> dict[str, Any]:
    """What every row of results carries."""
    return dict(
      seed=self.config.seed,
      versions=provenance.versions(),
      config=identity.fingerprint(self.config),
    )

  def require_suite(self) -> protocols.Suite:
    """The suite, for those who ask or learn from it.

    Raises:
      ValueError: the run was opened without data.
    """
    if self.suite is None:
      raise errors.Refusal(
        'the run was opened without data: no job asks for any'
      )
    return self.suite

  @errors.refusals()
  def confidence(self, selection: plans.Selection) -> budget.Confidence:
    """What the router asks for, as it was calibrated.

    Raises:
      ValueError: it was not, or its target cannot be met.
    """
    if self.config.eval.checkpoint:
      facts = load.locate(self.config.eval.checkpoint).facts
      calibration = outcomes.Calibration(facts.confidence, facts.curve)
    else:
      calibration = outcomes.calibration(self.workdir, self.viable)
    return calibration.confidence_for(selection)

  def inputs(
    self,
    viable: tuple[plans.Plan, ...] = (),
    labels: Sequence[targets.Target] = (),
  ) -> inputs_lib.Inputs:
    """What a training stage is given.

    Args:
      viable: plans by cost, for a stage that draws from them or learns to
        choose.
      labels: (number of a question, its target), for a stage that learns to
        choose.
    """
    return inputs_lib.Inputs(
      config=self.config,
      workdir=self.workdir,
      mesh=self.mesh,
      suite=self.require_suite(),
      viable=viable,
      labels=labels,
      before=self.before,
    )

  def model(
    self,
    stage: str,
    viable: tuple[plans.Plan, ...] = (),
    confidence: budget.Confidence = None,
    reduction: str | None = None,
  ) -> run_lib.ModelUnderTest:
    """The model with what a stage has left.

    Args:
      stage: its name.
      viable: plans that the router chooses from, by cost.
      confidence: of its choice.
      reduction: of visual tokens, '' for none; None for the one that the model
        has been trained with.

    Raises:
      ValueError: neither the stage nor one before it is finished.
    """
    model = model_lib.build(self.config)
    if reduction is not None:
      model = model.with_reduction(reduction)
    return run_lib.ModelUnderTest(
      model,
      self._params(stage),
      self.mesh,
      self.require_suite(),
      viable,
      confidence,
    )

  def answering(
    self, selection: plans.Selection, reduction: str | None = None
  ) -> run_lib.ModelUnderTest:
    """Who answers under a selection; arguments as of `model`."""
    stage = order.answering(selection.selector)
    if selection.selector != 'router':
      return self.model(stage, reduction=reduction)
    return self.model(stage, self.viable, self.confidence(selection), reduction)

  def _params(self, stage: str) -> generate.Params:
    if self.config.eval.checkpoint and stage != order.answering('base'):
      # One checkpoint has the weights of all of them.
      stage = order.answering('fixed')
    if stage not in self._restored:
      self._restored.clear()  # before another stage's come: one copy at a time
      self._restored[stage] = weights.restore(stage, self.inputs())
    return self._restored[stage]

  @functools.cached_property
  def _restored(self) -> dict[str, generate.Params]:
    return {}
