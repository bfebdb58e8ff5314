"""What a trained network does inside, for its report.

  python -m visor_jax.analysis --workdir=WORKDIR
  python -m visor_jax.analysis --workdir=WORKDIR --only=attention,cka
  python -m visor_jax.report --workdir=WORKDIR

  attention  where text looks: at image, question or answer, layer by layer
  cka        how much visual features change between layers
  drop       accuracy when some layers do not see the image; which families
             respond alike
  unseen     a second router, trained without some families, on those families
  length     LLM prefill FLOPs by the number of visual tokens, of every plan and
             of the base with token reduction

Each leaves WORKDIR/analysis/NAME.json, complete or not at all; what is there
with the same options is not done again, and answers that are there are not
asked for again. Exits 1 where an analysis could not be done.
"""

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import runpy
import sys
import time

import ml_collections

from visor_jax import config as config_lib
from visor_jax.analysis import analyses
from visor_jax.checkpoint import resolve
from visor_jax.data.suites import table as suites
from visor_jax.jobs import opening
from visor_jax.jobs import run as run_lib
from visor_jax.runtime import checksums
from visor_jax.runtime import claim
from visor_jax.runtime import command
from visor_jax.runtime import console
from visor_jax.runtime import identity
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import workdir as workdir_lib

# Of a job that asks, the flag that says where its sources lie.
SOURCES = {'eval': 'eval', 'policy': 'data'}


def _names(text: str) -> tuple[str, ...]:
  return tuple(name for name in text.split(',') if name)


def _parser() -> argparse.ArgumentParser:
  parser = command.parser('python -m visor_jax.analysis', __doc__)
  command.add_workdir(parser, 'of a finished run')
  add = parser.add_argument
  add(
    '--only',
    type=_names,
    default=tuple(analyses.ANALYSES),
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
    help='of attention, cka and drop, in the grammar of spec/plan.py; '
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
    type=_names,
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
    help='token reductions of length, in the grammar of reduction/grammar.py; '
    'default: %(default)s',
  )
  add('--batch', type=int, metavar='N', help='questions answered at a time')
  for group, asked in (('eval', 'test questions'), ('data', 'labels')):
    add(
      f'--{group}-source',
      action='append',
      default=[],
      metavar='NAME=PATH',
      help=f'where a source of {group}.sources lies, of {asked}: the workdir '
      'does not say',
    )
  add(
    '--experiment',
    metavar='FILE',
    help='is run first, for sizes and CROSS modules of its own',
  )
  return parser


def open_config(args: argparse.Namespace) -> ml_collections.ConfigDict:
  """The config of a workdir, with what it does not say from the flags.

  Raises:
    ValueError: there is none, or a flag does not fit.
  """
  path = workdir_lib.Workdir(args.workdir).config
  if not path.exists():
    raise ValueError(f'there is no {path}; --workdir names the folder of a run')
  if args.experiment:
    runpy.run_path(args.experiment)
  config = config_lib.from_identity(checksums.read_object(path))
  for group, given in (
    ('data', args.data_source),
    ('label', args.data_source),
    ('eval', args.eval_source),
  ):
    paths = dict(source.partition('=')[::2] for source in given)
    config[group].sources = tuple(
      (name, paths.get(name, ''), weight)
      for name, _, weight in config[group].sources
    )
  if args.batch:
    config.eval.batch = args.batch
  return config


def _jobs(names: Sequence[str]) -> tuple[str, ...]:
  """The jobs whose questions some analyses ask."""
  return tuple(
    job
    for job in SOURCES
    if any(job in analyses.ANALYSES[name].asks for name in names)
  )


def _asking(
  config: ml_collections.ConfigDict, names: Sequence[str]
) -> tuple[str, ...]:
  """The jobs whose questions some analyses ask.

  Raises:
    ValueError: nobody says where a source of theirs lies.
  """
  jobs = _jobs(names)
  sources = dict(
    eval=config.eval.sources,
    policy=config.label.sources or config.data.sources,
  )
  missing = [
    f'--{SOURCES[job]}-source={name}=PATH'
    for job in jobs
    for name, path, _ in sources[job]
    if not path
  ]
  if missing:
    raise ValueError(
      'the workdir does not say where its data lies; add ' + ' '.join(missing)
    )
  return jobs


@contextlib.contextmanager
def open_run(args: argparse.Namespace) -> Iterator[run_lib.Run]:
  """Claims the workdir of a run, with the data that analyses need.

  Raises:
    ValueError: there is no run, or its data is not what it was.
  """
  config = open_config(args)
  jobs = _asking(config, args.only)
  with claim.claim(args.workdir) as workdir:
    mesh = mesh_lib.make(**config.mesh)
    suite = None
    if jobs:
      suite = suites.open_suite(
        config,
        jobs,
        resolve.origin(config),
        resolve.architecture(config).size.language.vocabulary,
      )
      claim.check_same_data(workdir.path, suite.fingerprints)
    yield run_lib.Run(config, workdir, mesh, suite)


def _analyse(args: argparse.Namespace) -> int:
  unknown = [name for name in args.only if name not in analyses.ANALYSES]
  if unknown:
    raise ValueError(
      f'--only {", ".join(unknown)}: analyses are '
      f'{", ".join(analyses.ANALYSES)}'
    )
  failed = 0
  with open_run(args) as run:
    console.log(
      f'config {identity.fingerprint(run.config)}, mesh '
      + ' x '.join(f'{axis} {size}' for axis, size in run.mesh.shape.items())
    )
    analysis_run = analyses.AnalysisRun(run, args)
    opening.tell_fits(analysis_run.streams(_jobs(args.only)))
    for number, name in enumerate(args.only, start=1):
      began = time.monotonic()
      console.log(f'analysis {number} of {len(args.only)}: {name}')
      try:
        with mesh_lib.use_mesh(run.mesh):
          path = analyses.analyse(analysis_run, name)
      except ValueError as e:  # a stage it needs is not there: others may be
        command.tell(f'{name}: {e}')
        failed += 1
      else:
        took = console.duration(time.monotonic() - began)
        console.log(f'{name}: {path}, took {took}')
  return int(failed > 0)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs analyses; returns the exit code."""
  args = _parser().parse_args(argv)
  return command.run(lambda: _analyse(args))


if __name__ == '__main__':
  sys.exit(main())
