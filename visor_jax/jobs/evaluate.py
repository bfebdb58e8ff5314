"""The eval job: what is asked, and whom.

A checkpoint that is given (eval.checkpoint) is one that `convert import` wrote,
or the workdir of another run; its own workdir then only has answers and report.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import pathlib
from typing import Any

from visor_jax import config as config_lib
from visor_jax.benchmarks import scores
from visor_jax.benchmarks import suite as benchmarks_data
from visor_jax.benchmarks import table
from visor_jax.checkpoint import load
from visor_jax.checkpoint import resolve
from visor_jax.data import protocols
from visor_jax.eval import measure
from visor_jax.eval import results
from visor_jax.eval import run
from visor_jax.families import table as families
from visor_jax.jobs import calibrate
from visor_jax.jobs import search
from visor_jax.reduction import grammar
from visor_jax.runtime import claim
from visor_jax.spec import budget
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib


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

  suite: protocols.Suite
  stream: str
  count: int
  folder: str
  score: Any
  result: Any = lambda rows: {}


def evaluate(config, folder, subject, tests, stamp) -> None:
  """Answers of every selection to all tests, to results.jsonl.

  Args:
    config: the whole config.
    folder: of the run.
    subject: (stage, viable, confidence, reduced) -> run.Subject with its
      parameters and a token reduction.
    tests: of `tests`.
    stamp: what every row of results carries.
  """
  workdir = workdir_lib.Workdir(pathlib.Path(folder))
  viable = functools.cache(lambda: _viable(config, folder))
  selections = plans.parse(
    config.eval.plans,
    resolve.architecture(config).layout,
    viable() if 'all' in config.eval.plans else None,
  )
  # Now, before anything is asked: a budget may be out of reach.
  sure = {
    s: _confidence(config, folder, s)
    for s in selections
    if s.selector == 'router'
  }
  model = resolve.architecture(config)
  reductions = grammar.parse(config.eval.reduce)
  methods = dict.fromkeys([model.reduction, *map(str, reductions)])
  rows = []
  for test, method in itertools.product(tests, methods):
    answers, measured = {}, {}
    at = workdir.answers('eval', test.folder, method)
    for selection in selections:
      if selection.selector == 'base':
        who = subject('base', reduction=method)
      elif selection.selector == 'router':
        who = subject('policy', viable(), sure[selection], method)
      else:
        who = subject('universal', reduction=method)
      who = dataclasses.replace(who, suite=test.suite)
      answers[selection] = run.answers(
        who, test.stream, test.count, selection, at, config.eval, test.score
      )
      if config.eval.measure:
        measured[selection] = measure.measure(
          who, test.stream, selection, answers[selection], at, config.eval.batch
        )
    rows += results.rows(
      answers, test.suite.group, measured, test.result, method=method, **stamp
    )
  claim.write_shared(
    workdir.results, ''.join(json.dumps(r) + '\n' for r in rows)
  )


def _viable(config, folder):
  """Plans by cost; of the checkpoint that is given, or of the run."""
  if config.eval.checkpoint:
    return load.locate(config.eval.checkpoint).facts.viable
  return search.load(folder)


def _confidence(config, folder, selection):
  """What the router asks for, as calibrated there or here."""
  if config.eval.checkpoint:
    facts = load.locate(config.eval.checkpoint).facts
    return budget.confidence(selection, facts.curve, facts.confidence)
  return calibrate.load(folder, selection)


def check_checkpoint(config) -> None:
  """Whether the checkpoint that a config evaluates can answer what is asked.

  Raises:
    ValueError: the checkpoint is none, does not come from a LLaVA-OneVision
      checkpoint, or cannot answer under the plans that are asked for.
  """
  path = config.eval.checkpoint
  location = load.locate(path)
  facts = location.facts
  if not location.origin:
    raise ValueError(
      f'eval.checkpoint {path} has no tokenizer and no chat template: it '
      'does not come from a LLaVA-OneVision checkpoint'
    )
  others = set(config_lib.jobs(config)) - {'eval', 'report'}
  if others:
    raise ValueError(
      'with eval.checkpoint there are the jobs eval and report alone; stage '
      f'"{config.jobs}" means {", ".join(sorted(others))}, too'
    )
  if facts.transparency not in ('', config.data.transparency):
    raise ValueError(
      f'data.transparency is "{config.data.transparency}", but {path} was '
      f'trained with "{facts.transparency}"; set it to that'
    )
  need = {
    'router' if plan.startswith('router') else 'cross'
    for plan in config.eval.plans.split('+')
    if plan != 'base'
  }
  if need - set(facts.trained):
    raise ValueError(
      f'eval.plans is "{config.eval.plans}", but in {path} these are not '
      f'trained: {", ".join(sorted(need - set(facts.trained)))}; set it to '
      + ('plans without router' if 'cross' in facts.trained else 'base')
    )


def fingerprints(config, tests) -> dict[str, str]:
  """What changes when the questions or the weights that are asked do."""
  found = {k: v for test in tests for k, v in test.suite.fingerprints.items()}
  if config.eval.checkpoint:
    folder = load.locate(config.eval.checkpoint).weights
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
  origin = resolve.origin(config)
  folder = pathlib.Path(origin) / 'hf'
  if not origin or not folder.exists():
    raise ValueError(
      'eval.benchmarks need the tokenizer of a checkpoint, but model.init_from '
      f'is "{config.model.init_from}"; give a --checkpoint'
    )
  found, processor = (
    [],
    families.of_folder(folder).read_processor(folder, config.data.transparency),
  )
  for record in table.named(config.eval.benchmarks):
    try:
      source = benchmarks_data.open_questions(
        record, scores.RULES, config.eval.data
      )
    except OSError as e:
      raise ValueError(f'benchmark {record.name}: {e}') from e
    made = benchmarks_data.Suite(
      record,
      source,
      processor,
      prompt=config.data.prompt,
      max_new_tokens=config.eval.max_new_tokens,
    )
    found.append(
      Test(
        made,
        record.name,
        min(config.eval.examples, len(made)),
        record.name,
        record.score,
        record.result,
      )
    )
  return found
