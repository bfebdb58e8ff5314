"""What the eval job asks: test questions of sources, or benchmarks."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import hashlib

import ml_collections

from visor_jax.benchmarks import questions as questions_lib
from visor_jax.benchmarks import record as record_lib
from visor_jax.benchmarks import scores
from visor_jax.benchmarks import suite as benchmarks_suite
from visor_jax.benchmarks import table
from visor_jax.checkpoint import load
from visor_jax.checkpoint import resolve
from visor_jax.data import protocols
from visor_jax.eval import results
from visor_jax.eval import run
from visor_jax.families import table as families
from visor_jax.jobs import order
from visor_jax.reduction import grammar
from visor_jax.runtime import paths
from visor_jax.spec import plan as plans


def _nothing_beside(answers: results.Rows) -> results.Row:
  return {}


@dataclasses.dataclass(frozen=True)
class TestSet:
  """Questions that are asked under every plan.

  Attributes:
    suite: they come from.
    stream: of the suite.
    count: how many.
    folder: name of the folder of their answers in `eval`.
    score: a name in scores.SCORES, or a function.
    result: answers -> what the row of results has beside or instead.
  """

  suite: protocols.Suite
  stream: str
  count: int
  folder: str
  score: str | run.Score
  result: Callable[[results.Rows], results.Row] = _nothing_beside

  def reduced(self, method: str) -> protocols.Suite:
    """The suite, with images as a token reduction has them.

    Raises:
      ValueError: they cannot be made so.
    """
    reduction = grammar.single(method)
    if not reduction.in_data:
      return self.suite
    return self.suite.reprocessed(reduction.before_tower)


def open_test_sets(
  config: ml_collections.ConfigDict, suite: protocols.Suite
) -> tuple[TestSet, ...]:
  """What a config asks, with every token reduction; arguments as below."""
  test_sets = _open(config, suite)
  for reduction in grammar.parse(config.eval.reduce, searches=True):
    if reduction.in_data:
      for test_set in test_sets:
        test_set.reduced(str(reduction))
  return test_sets


def _open(
  config: ml_collections.ConfigDict, suite: protocols.Suite
) -> tuple[TestSet, ...]:
  """What a config asks.

  Args:
    config: the whole config.
    suite: of its test questions, where it asks no benchmarks.

  Raises:
    ValueError: naming the benchmark that is unknown, the files that are missing
      or what is wrong with them.
  """
  if not config.eval.benchmarks:
    return (
      TestSet(suite, 'test', config.eval.examples, '', config.eval.score),
    )
  origin = resolve.origin(config)
  folder = paths.parse(origin) / 'hf'
  if not origin or not folder.exists():
    raise ValueError(
      'eval.benchmarks need the tokenizer of a checkpoint, but model.init_from '
      f'is "{config.model.init_from}"; give a --checkpoint'
    )
  folder = paths.local_copy(folder)
  family = families.of_folder(folder)
  rows = resolve.architecture(config).size.language.vocabulary
  processor = family.read_processor(folder, config.data.transparency, rows)
  return tuple(
    _open_benchmark(config, benchmark, processor)
    for benchmark in table.named(config.eval.benchmarks)
  )


def _open_benchmark(
  config: ml_collections.ConfigDict,
  benchmark: record_lib.Benchmark,
  processor: protocols.Processor,
) -> TestSet:
  try:
    source = questions_lib.open_questions(
      benchmark, scores.RULES, config.eval.data
    )
  except OSError as e:
    raise ValueError(f'benchmark {benchmark.name}: {e}') from e
  suite = benchmarks_suite.Suite(
    benchmark,
    source,
    processor,
    prompt=config.data.prompt,
    max_new_tokens=config.eval.max_new_tokens,
  )
  return TestSet(
    suite,
    benchmark.name,
    min(config.eval.examples, len(suite)),
    benchmark.name,
    benchmark.score,
    benchmark.result,
  )


def fingerprints(
  config: ml_collections.ConfigDict, test_sets: Sequence[TestSet]
) -> dict[str, str]:
  """What changes when the questions or the weights that are asked do."""
  digests = {
    source: digest
    for test_set in test_sets
    for source, digest in test_set.suite.fingerprints.items()
  }
  if config.eval.checkpoint:
    folder = load.locate(config.eval.checkpoint).weights
    sums = [f.read_text() for f in sorted(folder.glob('process_*.sha256'))]
    digests['checkpoint'] = hashlib.sha256(''.join(sums).encode()).hexdigest()
  return digests


def check_trained(config: ml_collections.ConfigDict) -> None:
  """Whether a run will have trained who its eval job asks.

  Raises:
    ValueError: the router is asked, and never learns.
  """
  routed = [s for s in _selections(config) if s.selector == 'router']
  if routed and 'eval' in order.asked(config) and not config.policy.steps:
    raise ValueError(
      f'eval.plans is "{config.eval.plans}", but policy.steps is 0: no router '
      f'learns to choose; leave {routed[0]} out of eval.plans, or set '
      'policy.steps'
    )


def _selections(
  config: ml_collections.ConfigDict,
) -> tuple[plans.Selection, ...]:
  """Who is asked by the eval job."""
  layout = resolve.architecture(config).layout
  return plans.asked(config.eval.plans, layout)


def check_answerable(config: ml_collections.ConfigDict) -> None:
  """Whether the checkpoint that a config evaluates can answer what is asked.

  Args:
    config: the whole config, with eval.checkpoint.

  Raises:
    ValueError: the checkpoint is none, does not come from an imported one where
      words must be read, or cannot answer under the plans that are asked for.
  """
  path = config.eval.checkpoint
  location = load.locate(path)
  trained = location.facts.trained
  needs_words = config.eval.benchmarks or not config.data.suite
  if needs_words and not location.origin:
    raise ValueError(
      f'eval.checkpoint {path} has no tokenizer and no chat template: it '
      'does not come from an imported checkpoint'
    )
  transparency = location.facts.transparency
  if transparency not in ('', config.data.transparency):
    raise ValueError(
      f'data.transparency is "{config.data.transparency}", but {path} was '
      f'trained with "{transparency}"; set it to that'
    )
  others = set(order.asked(config)) - set(order.LAST)
  if others:
    raise ValueError(
      f'with eval.checkpoint there are the jobs {" and ".join(order.LAST)} '
      f'alone; jobs "{config.jobs}" means {", ".join(sorted(others))}, too'
    )
  needed = {
    'router' if selection.selector == 'router' else 'cross'
    for selection in _selections(config)
    if selection.selector != 'base'
  }
  missing = sorted(needed - set(trained))
  if missing:
    raise ValueError(
      f'eval.plans is "{config.eval.plans}", but in {path} these are not '
      f'trained: {", ".join(missing)}; set it to '
      + ('plans without router' if 'cross' in trained else 'base')
    )
