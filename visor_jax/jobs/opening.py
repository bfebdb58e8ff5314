"""A run is opened: what can be known before its first job is checked."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import json
import pathlib

import jax
from jax.sharding import Mesh
import ml_collections

from visor_jax.checkpoint import resolve
from visor_jax.data import protocols
from visor_jax.data.suites import table as suites
from visor_jax.eval import skipping
from visor_jax.jobs import order
from visor_jax.jobs import run as run_lib
from visor_jax.jobs import test_sets as test_sets_lib
from visor_jax.jobs import validate
from visor_jax.reduction import grammar
from visor_jax.runtime import checksums
from visor_jax.runtime import claim
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import identity
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import stages

# (suite, name of the stream, how many of its questions are wanted)
QuestionStream = tuple[protocols.Suite, str, int]

PATIENCE = 120  # seconds to wait for the last of several processes to be gone


@contextlib.contextmanager
def open_run(
  config: ml_collections.ConfigDict, path: pathlib.Path | str
) -> Iterator[run_lib.Run]:
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
    validate.check_workdir(config, path)
    if config.eval.checkpoint:
      test_sets_lib.check_answerable(config)
    else:
      test_sets_lib.check_trained(config)
    jobs, model = order.asked(config), resolve.architecture(config)
    mesh = mesh_lib.make(**config.mesh)
    _check_batches(config, mesh)
  suite = cluster.all_or_raise(
    'opening the data',
    lambda: suites.open_suite(
      config,
      _asking(config, jobs),
      resolve.origin(config),
      model.size.language.vocabulary,
    ),
  )
  tests = cluster.all_or_raise(
    'opening the tests',
    lambda: (
      test_sets_lib.open_test_sets(config, suite) if 'eval' in jobs else ()
    ),
  )
  cluster.all_or_raise(
    'looking at the questions',
    lambda: tell_fits(_streams(config, jobs, suite, tests)),
  )
  if 'eval' in jobs:
    searches = grammar.searches(config.eval.reduce)
    cluster.all_or_raise(
      'looking at the questions that layers are chosen by',
      lambda: skipping.check(model, suite, searches),
    )
  with errors.refusals():
    digests = suite.fingerprints | test_sets_lib.fingerprints(config, tests)
  for test, source in _learned_tests(digests):
    console.log(f'{test} is the data of {source}: that test is not held out')
  patience = PATIENCE if jax.process_count() > 1 else 0
  with claim.claim(path, patience) as workdir:
    cluster.all_or_raise(
      'comparing the workdir', lambda: _compare(config, workdir)
    )
    claim.check_same_data(workdir.path, digests)
    if cluster.is_primary():
      _write_config(config, workdir)
    yield run_lib.Run(config, workdir, mesh, suite, tests)


def _asking(
  config: ml_collections.ConfigDict, jobs: Sequence[str]
) -> Sequence[str]:
  """The jobs whose records are asked for."""
  searches = 'eval' in jobs and grammar.searches(config.eval.reduce)
  if searches and skipping.STREAM not in jobs:
    return [*jobs, skipping.STREAM]  # layers are chosen by its questions
  return jobs


def _streams(
  config: ml_collections.ConfigDict,
  jobs: Sequence[str],
  suite: protocols.Suite,
  tests: Sequence[test_sets_lib.TestSet],
) -> Iterator[QuestionStream]:
  """Yields what jobs ask."""
  for job in ('search', 'label'):
    if job in jobs:
      yield suite, job, config[job].examples
  for test in tests:
    yield test.suite, test.stream, test.count


def tell_fits(streams: Iterable[QuestionStream]) -> None:
  """Says which questions cannot be asked, before anything is trained.

  Args:
    streams: of questions that will be asked.

  Raises:
    ValueError: none of one can.
  """
  for suite, stream, count in streams:
    fit = suite.fit(stream, count)
    for note in fit.notes():
      console.log(note)
    if not fit.numbers:
      raise ValueError(
        f'{stream} has no question to ask: {"; ".join(fit.notes())}'
      )


def _learned_tests(digests: Mapping[str, str]) -> Iterator[tuple[str, str]]:
  """Yields the test sources that other jobs use, and how they name them.

  Args:
    digests: {stream/source: what changes when its data does}.
  """
  learned = {
    digest: source
    for source, digest in digests.items()
    if not source.startswith('test/')
  }
  for source, digest in digests.items():
    if source.startswith('test/') and digest in learned:
      yield source, learned[digest]


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
  checksums.write(workdir.config, text)


def _check_batches(config: ml_collections.ConfigDict, mesh: Mesh) -> None:
  """Finds now what would else be found hours later."""
  mesh_lib.check_batch('eval', config.eval.batch, mesh)
  for name in stages.STAGES:
    stage = config[name]
    mesh_lib.check_batch(name, stage.batch, mesh, stage.accumulate)
  mesh_lib.check_slots(suites.packed_slots(config), mesh)
