"""A run: its config and workdir, and whom its jobs ask.

A checkpoint that is given (eval.checkpoint) is one that `convert import` wrote,
or the workdir of another run; its own workdir then only has answers and report.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh
import ml_collections

from visor_jax.checkpoint import load
from visor_jax.checkpoint import resolve
from visor_jax.data import protocols
from visor_jax.data.suites import table as suites
from visor_jax.eval import generate
from visor_jax.eval import run as run_lib
from visor_jax.jobs import order
from visor_jax.jobs import test_sets as test_sets_lib
from visor_jax.jobs import validate
from visor_jax.runtime import claim
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.runtime import identity
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import outcomes
from visor_jax.runtime import provenance
from visor_jax.spec import budget
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import model as model_lib
from visor_jax.training import stages
from visor_jax.training import weights

PATIENCE = 120  # seconds to wait for the last of several processes to be gone


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
      len(self.viable),
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
      calibration = outcomes.calibration(self.workdir)
    return calibration.confidence_for(selection)

  def inputs(
    self,
    viable: tuple[plans.Plan, ...] = (),
    labels: Sequence[tuple[int, int]] = (),
  ) -> inputs_lib.Inputs:
    """What a training stage is given.

    Args:
      viable: plans by cost, for a stage that draws from them or learns to
        choose.
      labels: (index of a question, index of its plan among the viable), for a
        stage that learns to choose.
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
      self._restored[stage] = weights.restore(stage, self.inputs())
    return self._restored[stage]

  @functools.cached_property
  def _restored(self) -> dict[str, generate.Params]:
    return {}


@contextlib.contextmanager
def open_run(
  config: ml_collections.ConfigDict, path: pathlib.Path | str
) -> Iterator[Run]:
  """Checks all that can be known before the first job, and claims the workdir.

  What is refused leaves nothing there.

  Args:
    config: the whole config.
    path: folder of the run; made if it is not there.

  Raises:
    ValueError: naming what is wrong with config, data or workdir, and the
      remedy.
  """
  with errors.refusals():
    validate.validate(config)
    if config.eval.checkpoint:
      test_sets_lib.check_answerable(config)
    jobs = order.asked(config)
    mesh = mesh_lib.make(**config.mesh)
    _check_batches(config, mesh)
  suite = cluster.all_or_raise(
    'opening the data',
    lambda: suites.open_suite(config, jobs, resolve.origin(config)),
  )
  tests = cluster.all_or_raise(
    'opening the tests',
    lambda: (
      test_sets_lib.open_test_sets(config, suite) if 'eval' in jobs else ()
    ),
  )
  cluster.all_or_raise(
    'looking at the questions', lambda: _tell_fits(config, jobs, suite, tests)
  )
  with errors.refusals():
    digests = suite.fingerprints | test_sets_lib.fingerprints(config, tests)
  patience = PATIENCE if jax.process_count() > 1 else 0
  with claim.claim(path, patience) as workdir:
    cluster.all_or_raise(
      'comparing the workdir', lambda: _compare(config, workdir)
    )
    claim.check_same_data(workdir.path, digests)
    if cluster.is_primary():
      _write_config(config, workdir)
    yield Run(config, workdir, mesh, suite, tests)


def _tell_fits(
  config: ml_collections.ConfigDict,
  jobs: Sequence[str],
  suite: protocols.Suite,
  tests: Sequence[test_sets_lib.TestSet],
) -> None:
  """Says which questions cannot be asked, before anything is trained.

  Raises:
    ValueError: none of them can.
  """
  asking = [job for job in ('search', 'label') if job in jobs]
  streams = [(suite, job, config[job].examples) for job in asking]
  streams += [(test.suite, test.stream, test.count) for test in tests]
  for asker, stream, count in streams:
    fit = asker.fit(stream, count)
    for note in fit.notes():
      console.log(note)
    if not fit.numbers:
      raise ValueError(
        f'{stream} has no question to ask: {"; ".join(fit.notes())}'
      )


def _compare(
  config: ml_collections.ConfigDict, workdir: workdir_lib.Workdir
) -> None:
  """Whether results that are there are of this config; process 0 looks."""
  if not cluster.is_primary():
    return
  if not order.with_results(workdir):
    claim.forget(workdir)  # of a run that was refused, or soon stopped
  claim.check_config(
    workdir, config, lambda key: order.dependents(key, workdir)
  )
  resolve.keep(workdir, resolve.architecture(config))


def _write_config(
  config: ml_collections.ConfigDict, workdir: workdir_lib.Workdir
) -> None:
  """Leaves the keys that results depend on, in the order of the config."""
  text = json.dumps(identity.identity(config), indent=1)
  files.write_atomic(workdir.config, text)


def _check_batches(config: ml_collections.ConfigDict, mesh: Mesh) -> None:
  """Finds now what would else be found hours later."""
  mesh_lib.check_batch('eval', config.eval.batch, mesh)
  for name in stages.STAGES:
    stage = config[name]
    mesh_lib.check_batch(name, stage.batch, mesh, stage.accumulate)
