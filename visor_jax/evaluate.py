"""What the eval job asks, and whom: benchmarks, and a checkpoint of elsewhere.

A checkpoint that is given (eval.checkpoint) is one that `convert import` wrote,
or the workdir of another run; its own workdir then only has answers and report.
"""

import dataclasses
import hashlib
import pathlib
from typing import Any

from visor_jax import config as config_lib
from visor_jax import plan as plans
from visor_jax.convert import hf
from visor_jax.data import benchmarks as benchmarks_data
from visor_jax.data import images
from visor_jax.data import text
from visor_jax.eval import benchmarks
from visor_jax.eval import scores


@dataclasses.dataclass(frozen=True)
class Test:
  """Questions that are asked under every plan.

  Attributes:
    suite: they come from.
    stream: of the suite.
    count: how many.
    folder: name of the folder of their answers in `eval`.
    score: (answer, gold) -> 0 to 1, or a name in scores.SCORES.
    result: rows of answers -> what the row of results has beside or instead.
  """

  suite: Any
  stream: str
  count: int
  folder: str
  score: Any
  result: Any = lambda rows: {}


def adopt(config) -> None:
  """Makes the model of a config that of the checkpoint it is to evaluate.

  Raises:
    ValueError: the checkpoint is none, does not come from a LLaVA-OneVision
      checkpoint, or cannot answer under the plans that are asked for.
  """
  path = config.eval.checkpoint
  facts, start, _ = hf.known(path)
  if not start:
    raise ValueError(
        f'eval.checkpoint {path} has no tokenizer and no chat template: it '
        'does not come from a LLaVA-OneVision checkpoint')
  others = set(config_lib.jobs(config)) - {'eval', 'report'}
  if others:
    raise ValueError(
        'with eval.checkpoint there are the jobs eval and report alone; stage '
        f'"{config.stage}" means {", ".join(sorted(others))}, too')
  need = {'router' if plan == 'router' else 'cross'
          for plan in config.eval.plans.split('+') if plan != 'base'}
  if need - set(facts.trained):
    raise ValueError(
        f'eval.plans is "{config.eval.plans}", but in {path} these are not '
        f'trained: {", ".join(sorted(need - set(facts.trained)))}; set it to '
        + ('plans without router' if 'cross' in facts.trained else 'base'))
  with config.unlocked(), config.ignore_type():
    config.model.start = start
    if facts.layout.optional:
      config.model.cross_layers = facts.layout.indices(plans.CROSS)
      config.model.self_layers = facts.layout.optional
    config.model.cross.update(dataclasses.asdict(facts.cross))
    config.model.router.token = facts.router.token
    config.model.router.hidden = facts.router.hidden
    config.search.max_plans = facts.router.plans


def fingerprints(config, tests) -> dict[str, str]:
  """What changes when the questions or the weights that are asked do."""
  found = {k: v for test in tests for k, v in test.suite.fingerprints.items()}
  if config.eval.checkpoint:
    *_, folder = hf.known(config.eval.checkpoint)
    said = [f.read_text() for f in sorted(folder.glob('process_*.sha256'))]
    found['checkpoint'] = hashlib.sha256(''.join(said).encode()).hexdigest()
  return found


def tests(config, suite=None) -> list[Test]:
  """What a config asks.

  Args:
    config: the whole config.
    suite: of its test questions, where it asks no benchmarks.

  Raises:
    ValueError: naming the benchmark that is unknown, the files that are missing
      or what is wrong with them.
  """
  if not config.eval.benchmarks:
    return [Test(suite, 'test', config.eval.examples, '', config.eval.score)]
  folder = pathlib.Path(config.model.start) / 'hf'
  if not config.model.start or not folder.exists():
    raise ValueError(
        'eval.benchmarks need the tokenizer of a checkpoint, but model.start '
        f'is "{config.model.start}"; give a --checkpoint')
  found, tokenizer = [], text.Tokenizer(folder)
  for record in benchmarks.named(config.eval.benchmarks):
    try:
      source = benchmarks_data.open_questions(
          record, scores.RULES, config.eval.data)
    except OSError as e:
      raise ValueError(f'benchmark {record.name}: {e}') from e
    made = benchmarks_data.Suite(
        record, source, tokenizer, images.read(folder),
        prompt=config.data.prompt, tokens=config.eval.tokens)
    found.append(Test(
        made, record.name, min(config.eval.examples, len(made)), record.name,
        record.rate, record.result))
  return found
