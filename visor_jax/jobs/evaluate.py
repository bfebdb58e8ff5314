"""The eval job: answers of every selection to all tests."""

import dataclasses
import itertools
import json
from typing import Any

from visor_jax.checkpoint import resolve
from visor_jax.data.suites import drawn
from visor_jax.eval import measure
from visor_jax.eval import results
from visor_jax.eval import run as eval_run
from visor_jax.eval import skipping
from visor_jax.jobs import examples
from visor_jax.jobs import order
from visor_jax.jobs import run as run_lib
from visor_jax.jobs import test_sets
from visor_jax.reduction import grammar
from visor_jax.reduction import method as method_lib
from visor_jax.reduction import skips
from visor_jax.runtime import claim
from visor_jax.spec import plan as plans
from visor_jax.training import metrics


def evaluate(run: run_lib.Run) -> None:
  """Asks all tests and writes results.jsonl.

  Args:
    run: what it works with.

  Raises:
    ValueError: a plan is asked for that there is not, or a budget is out of
      reach, or a stage that is asked has not run.
  """
  config = run.config
  architecture = resolve.architecture(config)
  selections = plans.parse(
    config.eval.plans,
    architecture.layout,
    run.viable if 'all' in config.eval.plans else None,
  )
  for selection in selections:
    if selection.selector == 'router':
      # Now, before anything is asked: a budget may be out of reach.
      run.confidence(selection)
  reduction = architecture.reduction
  methods = {reduction: reduction} | _reductions(run)
  tests = [*itertools.product(run.tests, dict.fromkeys(methods.values()))]
  answered = {}
  # One stage after the other: the weights of one alone are held.
  for selection in sorted(selections, key=_stage):
    for test, method in tests:
      answered[test.folder, method, selection] = _ask(
        run, test, method, selection
      )
  rows: list[results.Row] = []
  for test, (asked, method) in itertools.product(run.tests, methods.items()):
    of_test = {s: answered[test.folder, method, s] for s in selections}
    rows += results.rows(
      {selection: answers for selection, (answers, _) in of_test.items()},
      test.suite.group,
      {s: measured for s, (_, measured) in of_test.items() if measured},
      test.result,
      method=method,
      method_asked=asked,
      **test.suite.fit(test.stream, test.count).left_out,
      **run.stamp,
    )
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  claim.write_shared(run.workdir.results, text)
  shown: list[dict[str, Any]] = []
  for test in run.tests:
    if isinstance(test.suite, drawn.Suite):
      answers = {s: answered[test.folder, reduction, s][0] for s in selections}
      shown += examples.rows(test.suite, test.stream, answers)
  text = ''.join(json.dumps(row) + '\n' for row in shown)
  claim.write_shared(run.workdir.examples, text)
  with metrics.open_log(config, run.workdir, 'eval') as log:
    log.write(1, results.numbers(rows))


def _reductions(run: run_lib.Run) -> dict[str, str]:
  """{token reduction as asked for: with the layers that were found}."""
  reduce, options = run.config.eval.reduce, run.config.eval
  settings: dict[method_lib.Reduction, skips.Skips] = {}
  if searches := grammar.searches(reduce):
    base = run.answering(plans.Selection('base'), reduction='')
    settings = skipping.find(base, searches, options.batch)
  asked = grammar.parse(reduce, searches=True)
  return {str(each): str(settings.get(each, each)) for each in asked}


def _stage(selection: plans.Selection) -> str:
  return order.answering(selection.selector)


def _ask(
  run: run_lib.Run,
  test: test_sets.TestSet,
  method: str,
  selection: plans.Selection,
) -> tuple[list[eval_run.Answer], measure.Measured | None]:
  """Answers to a test, and what they took where that is to be measured."""
  options = run.config.eval
  folder = run.workdir.answers('eval', test.folder, method)
  under_test = dataclasses.replace(
    run.answering(selection, method), suite=test.reduced(method)
  )
  answers = eval_run.answers(
    under_test,
    test.stream,
    test.count,
    selection,
    folder,
    options,
    test.score,
  )
  if not options.measure:
    return answers, None
  return answers, measure.measure(
    under_test, test.stream, selection, answers, folder, options.batch
  )
