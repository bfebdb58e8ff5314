"""Which jobs there are, in which order, and whose results rest on whose.

Training stages are jobs, and so are those that a stage needs before it; the
eval and report jobs come last. Everything is read off `stages.STAGES`.
"""

import ml_collections

from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import stages

LAST = ('eval', 'report')

# Keys that other jobs' results depend on than their group's, and those that
# none do: answers are kept by plan, method, benchmark and number of questions,
# so that what is asked for may change.
_OWNERS = {
  'search.max_plans': ('base',),  # the width of the router
  'eval.max_new_tokens': ('search', 'label', 'eval'),
  'eval.score': ('search', 'eval'),
  # Which questions fit; answers are kept by their numbers.
  'data.prompt.text': (),
  'data.prompt.tiles': (),
  'data.prompt.visual': (),
  'eval.benchmarks': (),
  'eval.coarse': (),
  'eval.examples': (),
  'eval.plans': (),
  'eval.reduce': (),
}


def names() -> tuple[str, ...]:
  """All jobs, in the order in which they run."""
  order: list[str] = []
  for stage in stages.STAGES.values():
    order += [job for job in stage.needs if job not in order]
    order.append(stage.name)
  return (*order, *LAST)


def asked(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  """The jobs that `config.jobs` asks for, in order.

  Raises:
    ValueError: a name that is no job, or a stage without steps.
  """
  known = names()
  if config.jobs == 'all':
    return tuple(job for job in known if _has_steps(config, job))
  jobs = config.jobs.split('+')
  for job in jobs:
    if job not in known:
      raise ValueError(f'jobs: "{job}" is not all or one of {", ".join(known)}')
    if not _has_steps(config, job):
      raise ValueError(f'jobs: stage "{job}" has no steps; set {job}.steps')
  return tuple(job for job in known if job in jobs)


def answering(selector: str) -> str:
  """The stage whose parameters answer, by who chooses the plan.

  Plans are answered by what the router learns on top of. Where a stage has no
  steps, that before it answers, see training/weights.py.

  Args:
    selector: of a spec.plan.Selection.
  """
  by_selector = {
    'base': 'base',
    'fixed': stages.named('policy').starts_from[0],
    'router': 'policy',
  }
  return by_selector[selector]


def dependents(key: str, workdir: workdir_lib.Workdir) -> list[str]:
  """The jobs that have left results which depend on a key of the config.

  Keys of a job's own group concern it and the jobs that read what it leaves,
  others all jobs.

  Args:
    key: its path, as 'full.learning_rate'.
    workdir: of the run.
  """
  group, known = key.split('.')[0], names()
  owners = _OWNERS.get(key, (group,) if group in known else known)
  return [
    job
    for job in with_results(workdir)
    if not {job, *_before(job, workdir)}.isdisjoint(owners)
  ]


def with_results(workdir: workdir_lib.Workdir) -> list[str]:
  """The jobs that have left something which they would go on from."""
  return [job for job in names() if _has_results(job, workdir)]


def _has_results(job: str, workdir: workdir_lib.Workdir) -> bool:
  if job in stages.STAGES:
    folder = workdir.checkpoints(job)
    return folder.exists() and any(p.name.isdecimal() for p in folder.iterdir())
  return job != 'report' and workdir.answers(job).exists()


def _before(job: str, workdir: workdir_lib.Workdir) -> set[str]:
  """The jobs that a job's results go back to."""
  if job in stages.STAGES:
    stage = stages.named(job)
    reads = {*stage.starts_from, *stage.needs}
  elif job == 'eval':
    answers = workdir.answers(job).rglob('*-*.jsonl')  # START-STOP
    reads = {answering(_selector(path.parent.name)) for path in answers}
  elif job == 'label':
    reads = {'search', answering('fixed')}
  else:
    reads = {'full'} if job == 'search' else set()
  return reads.union(*(_before(other, workdir) for other in reads))


def _selector(selection: str) -> str:
  """Who chose the plan, of the name of a folder of answers."""
  for selector in ('base', 'router'):
    if selection.startswith(selector):
      return selector
  return 'fixed'


def _has_steps(config: ml_collections.ConfigDict, job: str) -> bool:
  """False for a training stage that this config leaves out."""
  return job not in stages.STAGES or bool(config[job].steps)
