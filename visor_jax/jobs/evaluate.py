"""The eval job: answers of every selection to all tests."""

import dataclasses
import itertools
import json

from visor_jax.checkpoint import resolve
from visor_jax.eval import measure
from visor_jax.eval import results
from visor_jax.eval import run as eval_run
from visor_jax.jobs import run as run_lib
from visor_jax.reduction import grammar
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
  reductions = grammar.parse(config.eval.reduce)
  methods = dict.fromkeys([architecture.reduction, *map(str, reductions)])
  rows: list[results.Row] = []
  for test, method in itertools.product(run.tests, methods):
    answers, measured = {}, {}
    folder = run.workdir.answers('eval', test.folder, method)
    for selection in selections:
      under_test = dataclasses.replace(
        run.answering(selection, method), suite=test.suite
      )
      answers[selection] = eval_run.answers(
        under_test,
        test.stream,
        test.count,
        selection,
        folder,
        config.eval,
        test.score,
      )
      if config.eval.measure:
        measured[selection] = measure.measure(
          under_test,
          test.stream,
          selection,
          answers[selection],
          folder,
          config.eval.batch,
        )
    fit = test.suite.fit(test.stream, test.count)
    rows += results.rows(
      answers,
      test.suite.group,
      measured,
      test.result,
      method=method,
      **fit.left_out,
      **run.stamp,
    )
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  claim.write_shared(run.workdir.results, text)
  with metrics.open_log(config, run.workdir, 'eval') as log:
    log.write(1, results.numbers(rows))
