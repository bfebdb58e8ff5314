"""What a trained network does inside, for its report.

  python -m visor_jax.analysis --workdir=WORKDIR
  python -m visor_jax.analysis --workdir=WORKDIR --only=attention,cka
  python -m visor_jax.report WORKDIR

  attention  where text looks: at image, question or answer, layer by layer
  cka        how much visual features change between layers
  drop       accuracy when some layers do not see the image; which families
             respond alike
  unseen     a second router, trained without some families, on those families
  length     LLM prefill FLOPs by the number of visual tokens, of every plan and
             of the base with token reduction

Each leaves WORKDIR/analysis/NAME.json, whole or not at all; what is there with
the same options is not done again, and answers that are there are not asked
for again. Exits 1 where an analysis could not be done.
"""

import argparse
import functools
import json
import pathlib
import runpy
import sys
import time

from visor_jax import config as config_lib
from visor_jax.analysis import attention
from visor_jax.analysis import cka
from visor_jax.analysis import drop
from visor_jax.analysis import lengths
from visor_jax.analysis import unseen
from visor_jax.checkpoint import resolve
from visor_jax.data.suites import table as suites
from visor_jax.eval import run
from visor_jax.jobs import search
from visor_jax.reduction import grammar
from visor_jax.runtime import claim
from visor_jax.runtime import console
from visor_jax.runtime import files
from visor_jax.runtime import identity as identity_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import provenance
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import model as model_lib
from visor_jax.training import weights


class AnalysisRun:
  """A workdir that is open for analysis.

  Args:
    args: of the command.
    config: of the run.
    suite: its questions.
    mesh: of mesh.make.
  """

  def __init__(self, args, config, suite, mesh):
    self.args, self.config, self.suite, self.mesh = args, config, suite, mesh
    self.folder = args.workdir / 'analysis'
    self._of = functools.cache(self.subject)

  def subject(
    self, stage, config=None, workdir=None, viable=(), confidence=None
  ) -> run.ModelUnderTest:
    """What a stage has left."""
    config = config or self.config
    return run.ModelUnderTest(
      model_lib.build(config),
      weights.restore(
        stage,
        inputs_lib.Inputs(
          config,
          workdir_lib.Workdir(pathlib.Path(workdir or self.args.workdir)),
          self.mesh,
          self.suite,
        ),
      ),
      self.mesh,
      self.suite,
      viable,
      confidence,
    )

  def of(self, selection) -> run.ModelUnderTest:
    """Who answers with a plan."""
    return self._of('base' if selection.selector == 'base' else 'universal')

  def selections(self, text) -> tuple[plans.Selection, ...]:
    """Of the grammar, each of one plan or the base."""
    viable = search.load(self.args.workdir) if 'all' in text else None
    found = plans.parse(text, resolve.architecture(self.config).layout, viable)
    if any(s.selector == 'router' for s in found):
      raise ValueError(
        '--plans router: an analysis is of one plan, and the '
        'router takes several; name plans'
      )
    return found

  def attention(self, args):
    return {
      str(s): attention.measure(
        self.of(s), s, args.examples, self.config.eval.batch
      )
      for s in self.selections(args.plans)
    }

  def cka(self, args):
    return {
      str(s): cka.measure(
        self.of(s), s, args.examples, self.config.eval.batch, args.tokens
      )
      for s in self.selections(args.plans)
    }

  def drop(self, args):
    return {
      str(s): drop.measure(
        self.of(s), s, args.examples, self.folder / 'drop', self.config.eval
      )
      for s in self.selections(args.plans)
    }

  def unseen(self, args):
    without = (
      args.without
      or self.config.policy.without
      or unseen.some(args.workdir, self.suite.group)
    )
    if not without:
      raise ValueError('there are too few families to leave some out')
    return unseen.measure(
      self.subject,
      self.suite,
      self.mesh,
      self.config,
      args.workdir,
      self.folder / 'unseen',
      without,
      args.examples,
    )

  def length(self, args):
    return lengths.measure(
      resolve.architecture(self.config),
      self.selections('base+all'),
      grammar.parse(args.reduce),
      args.text,
    )


# Each analysis, and the options that decide what comes out.
ANALYSES = {
  'attention': (AnalysisRun.attention, ('examples', 'plans')),
  'cka': (AnalysisRun.cka, ('examples', 'plans', 'tokens')),
  'drop': (AnalysisRun.drop, ('examples', 'plans')),
  'unseen': (AnalysisRun.unseen, ('examples', 'without')),
  'length': (AnalysisRun.length, ('text', 'reduce')),
}


def _parser():
  parser = argparse.ArgumentParser(
    prog='python -m visor_jax.analysis',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  names = lambda text: tuple(n for n in text.split(',') if n)
  add('--workdir', required=True, type=pathlib.Path, help='of a finished run')
  add(
    '--only',
    type=names,
    default=tuple(ANALYSES),
    metavar='NAME,...',
    help='these analyses; default: all',
  )
  add(
    '--examples',
    type=int,
    default=256,
    metavar='N',
    help='test questions; default: %(default)s',
  )
  add(
    '--plans',
    default='base+max+min',
    help='of attention, cka and drop, in the grammar of plan.py; '
    'default: %(default)s',
  )
  add(
    '--tokens',
    type=int,
    default=256,
    metavar='N',
    help='visual tokens of a question that cka compares; default: %(default)s',
  )
  add(
    '--without',
    type=names,
    default=(),
    metavar='FAMILY,...',
    help='that the second router does not learn from; default: '
    'policy.without, or one of each group',
  )
  add(
    '--text',
    type=int,
    default=60,
    metavar='N',
    help='text tokens of length; default: %(default)s',
  )
  add(
    '--reduce',
    metavar='METHODS',
    default='visionzip-64+vispruner-64+m3-36+pack:2+fastv+pyramiddrop',
    help='token reductions of length, in the grammar of reduction.py; '
    'default: %(default)s',
  )
  add('--batch', type=int, metavar='N', help='questions answered at a time')
  for key, what in (('eval', 'test questions'), ('data', 'labels')):
    add(
      f'--{key}-source',
      action='append',
      default=[],
      metavar='NAME=PATH',
      help=f'where a source of {key}.sources lies, of {what}: the workdir '
      'does not say',
    )
  add(
    '--experiment',
    metavar='FILE',
    help='is run first, for sizes and CROSS modules of its own',
  )
  return parser


def open_config(args):
  """The config of a workdir, with what it does not say from the flags.

  Raises:
    ValueError: there is none, or a flag does not fit.
  """
  path = args.workdir / 'config.json'
  if not path.exists():
    raise ValueError(f'there is no {path}; --workdir names the folder of a run')
  if args.experiment:
    runpy.run_path(args.experiment)
  config = config_lib.from_identity(json.loads(path.read_text()))
  given = dict(data=args.data_source, eval=args.eval_source)
  for key in ('data', 'eval', *config_lib.STAGES):
    where = dict(s.partition('=')[::2] for s in given.get(key, ()))
    config[key].sources = tuple(
      (name, where.get(name, ''), weight)
      for name, weight in config[key].sources
    )
  if args.batch:
    config.eval.batch = args.batch
  return config


def _jobs(config, args):
  """Those whose questions are asked; checks that their sources are known."""
  jobs = {'eval': 'eval'} if {*args.only} - {'length'} else {}
  jobs |= {'policy': 'data'} if 'unseen' in args.only else {}
  lost = [
    f'--{key}-source={name}=PATH'
    for key in jobs.values()
    for name, path, _ in config[key].sources
    if not path
  ]
  if lost:
    raise ValueError(
      'the workdir does not say where its data lies; add ' + ' '.join(lost)
    )
  return tuple(jobs)


def analyse(desk: AnalysisRun, name: str) -> pathlib.Path:
  """Does an analysis and keeps its numbers, unless they are there."""
  args, path = desk.args, desk.folder / f'{name}.json'
  measure, options = ANALYSES[name]
  known = dict(
    analysis=name,
    config=identity_lib.fingerprint(desk.config),
    seed=desk.config.seed,
    options={key: getattr(args, key) for key in options},
  )
  known = json.loads(json.dumps(known))
  if path.exists():
    found = json.loads(path.read_text())
    if all(found.get(key) == value for key, value in known.items()):
      console.log(f'{name}: done before')
      return path
  files.write_atomic(
    path,
    json.dumps(
      known | dict(versions=provenance.versions(), numbers=measure(desk, args))
    ),
  )
  return path


def main(argv=None) -> int:
  """Runs analyses; returns the exit code."""
  args, failed = _parser().parse_args(argv), 0
  try:
    strange = [name for name in args.only if name not in ANALYSES]
    if strange:
      raise ValueError(
        f'--only {", ".join(strange)}: analyses are {", ".join(ANALYSES)}'
      )
    config = open_config(args)
    jobs = _jobs(config, args)
    with claim.claim(args.workdir, config):
      mesh = mesh_lib.make(**config.mesh)
      suite = (
        suites.open_suite(config, jobs, resolve.origin(config))
        if jobs
        else None
      )
      if suite:
        claim.check_same_data(args.workdir, suite.fingerprints)
      desk = AnalysisRun(args, config, suite, mesh)
      console.log(
        f'config {identity_lib.fingerprint(config)}, mesh '
        + ' x '.join(f'{k} {v}' for k, v in mesh.shape.items())
      )
      for number, name in enumerate(args.only, start=1):
        began = time.monotonic()
        console.log(f'analysis {number} of {len(args.only)}: {name}')
        try:
          with mesh_lib.use_mesh(mesh):
            path = analyse(desk, name)
        except ValueError as e:  # a stage it needs is not there: others may be
          print(f'error: {name}: {e}', file=sys.stderr)
          failed += 1
        else:
          console.log(
            f'{name}: {path}, took {console.duration(time.monotonic() - began)}'
          )
  except (OSError, ValueError) as e:
    print(f'error: {e}', file=sys.stderr)
    return 1
  return int(failed > 0)


if __name__ == '__main__':
  sys.exit(main())
