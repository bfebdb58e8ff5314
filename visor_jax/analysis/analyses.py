"""The analyses as a table, and the run that they are made of."""

import argparse
from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import json
import pathlib
from typing import Any

from visor_jax.analysis import attention
from visor_jax.analysis import cka
from visor_jax.analysis import drop
from visor_jax.analysis import lengths
from visor_jax.analysis import unseen
from visor_jax.checkpoint import resolve
from visor_jax.jobs import opening
from visor_jax.jobs import run as run_lib
from visor_jax.reduction import grammar
from visor_jax.runtime import checksums
from visor_jax.runtime import console
from visor_jax.runtime import identity
from visor_jax.runtime import provenance
from visor_jax.spec import plan as plans

Numbers = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class AnalysisRun:
  """A run that is open for analysis.

  Attributes:
    run: the run.
    options: of the command.
  """

  run: run_lib.Run
  options: argparse.Namespace

  def streams(self, jobs: Iterable[str]) -> list[opening.QuestionStream]:
    """The questions that are asked, of those of some jobs."""
    wanted = {
      'eval': ('test', self.options.examples),
      'policy': ('label', self.run.config.label.examples),
    }
    return [(self.run.require_suite(), *wanted[job]) for job in jobs]

  def selections(self, text: str) -> tuple[plans.Selection, ...]:
    """Of the grammar, each of one plan or the base."""
    selections = plans.parse(
      text,
      resolve.architecture(self.run.config).layout,
      self.run.viable if 'all' in text else None,
    )
    if any(selection.selector == 'router' for selection in selections):
      raise ValueError(
        '--plans router: an analysis is of one plan, and the '
        'router takes several; name plans'
      )
    return selections

  def attention(self) -> Numbers:
    """Where text looks, under each of the plans."""
    return {
      str(selection): attention.measure(
        self.run.answering(selection),
        selection,
        self.options.examples,
        self.run.config.eval.batch,
      )
      for selection in self.selections(self.options.plans)
    }

  def cka(self) -> Numbers:
    """How much visual features change between layers, under each plan."""
    return {
      str(selection): cka.measure(
        self.run.answering(selection),
        selection,
        self.options.examples,
        self.run.config.eval.batch,
        self.options.tokens,
      )
      for selection in self.selections(self.options.plans)
    }

  def drop(self) -> Numbers:
    """Accuracy when some layers do not see the image, under each plan."""
    return {
      str(selection): drop.measure(
        self.run.answering(selection),
        selection,
        self.options.examples,
        self.run.workdir.analysis / 'drop',
        self.run.config.eval,
      )
      for selection in self.selections(self.options.plans)
    }

  def unseen(self) -> Numbers:
    """A second router on families that it has not learned from."""
    group = self.run.require_suite().group
    without = (
      self.options.without
      or self.run.config.policy.without
      or unseen.one_of_each_group(self.run.labels, group)
    )
    if not without:
      raise ValueError('there are too few families to leave some out')
    return unseen.measure(
      self.run,
      self.run.workdir.analysis / 'unseen',
      without,
      self.options.examples,
    )

  def length(self) -> Numbers:
    """LLM prefill FLOPs by the number of visual tokens."""
    return lengths.measure(
      resolve.architecture(self.run.config),
      self.selections('base+all'),
      grammar.parse(self.options.reduce),
      self.options.text,
    )


@dataclasses.dataclass(frozen=True)
class Analysis:
  """One analysis.

  Attributes:
    measure: makes its numbers.
    options: those of the command that decide what comes out.
    asks: whose questions are asked: 'eval' for test questions, 'policy' for
      those with labels.
  """

  measure: Callable[[AnalysisRun], Numbers]
  options: tuple[str, ...]
  asks: tuple[str, ...] = ('eval',)


ANALYSES = {
  'attention': Analysis(AnalysisRun.attention, ('examples', 'plans')),
  'cka': Analysis(AnalysisRun.cka, ('examples', 'plans', 'tokens')),
  'drop': Analysis(AnalysisRun.drop, ('examples', 'plans')),
  'unseen': Analysis(
    AnalysisRun.unseen, ('examples', 'without'), asks=('policy', 'eval')
  ),
  'length': Analysis(AnalysisRun.length, ('text', 'reduce'), asks=()),
}


def analyse(analysis_run: AnalysisRun, name: str) -> pathlib.Path:
  """Does an analysis and keeps its numbers, unless they are there.

  Args:
    analysis_run: of what.
    name: of the analysis.

  Returns:
    The file of its numbers.

  Raises:
    ValueError: a job that it needs has not run.
  """
  run, analysis = analysis_run.run, ANALYSES[name]
  path = run.workdir.analysis / f'{name}.json'
  options = {
    option: getattr(analysis_run.options, option) for option in analysis.options
  }
  facts = dict(
    analysis=name,
    config=identity.fingerprint(run.config),
    seed=run.config.seed,
    options=json.loads(json.dumps(options)),
  )
  saved = checksums.intact(path, lambda: checksums.read_object(path))
  if saved and all(saved.get(key) == value for key, value in facts.items()):
    console.log(f'{name}: done before')
    return path
  numbers = analysis.measure(analysis_run)
  left_out = {
    stream: suite.fit(stream, count).left_out
    for suite, stream, count in analysis_run.streams(analysis.asks)
  }
  text = json.dumps(
    facts
    | dict(versions=provenance.versions(), left_out=left_out, numbers=numbers)
  )
  checksums.write(path, text)
  return path
