#!/usr/bin/env python3
"""A sweep of compute budgets: a run for each, then one page over all of them.

  launch/sweep.py --config=FILE --workdir=OUT --budgets=0.1,0.2,0.4 --on=local

A budget is a share of the LLM prefill FLOPs of plan `max`, or with
--budget-of=total of all that it takes end to end, and stands for the most
expensive plan within it, at the lengths of the first test questions; among
plans that cost the same, the one that spreads its SELF layers most evenly.

  --do=eval    The network is trained once, in OUT/shared or, with
               --trained=WORKDIR, before. Of its viable plans the most
               expensive within each budget answers the test questions.
  --do=train   base and cross are trained once, in OUT/shared. For each budget
               a network of its own is trained from there, whose every step
               runs that one plan, of all that the layout allows; then it is
               evaluated with it.

Each budget is a job with the workdir OUT/budget-B. Started again, the sweep
goes on where it was: a budget with results.jsonl is done, one that was cut off
goes on. At the end OUT/report/index.html shows accuracy against cost. Keys of
the config may be set as for visor_jax.main; --launch gives options to what
starts the jobs: launch/local.py, sbatch, or launch/gke.py. On a cluster, a
sweep that is stopped leaves the jobs running, and finds them when it is started
again. Exit code: 0 when all budgets are done.
"""

import collections
from collections.abc import Mapping
from collections.abc import Sequence
import concurrent.futures
import hashlib
import os
import pathlib
import shlex
import sys

from absl import app
from absl import flags
import ml_collections
from ml_collections import config_flags

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run from anywhere, installed or not

from launch import together  # noqa: E402
from visor_jax.checkpoint import resolve  # noqa: E402
from visor_jax.data.suites import table as suites  # noqa: E402
from visor_jax.eval import costs  # noqa: E402
from visor_jax.eval import questions  # noqa: E402
from visor_jax.jobs import validate  # noqa: E402
from visor_jax.runtime import console  # noqa: E402
from visor_jax.runtime import files  # noqa: E402
from visor_jax.runtime import outcomes  # noqa: E402
from visor_jax.runtime import paths  # noqa: E402
from visor_jax.spec import architecture as architecture_lib  # noqa: E402
from visor_jax.spec import budget as budgets  # noqa: E402
from visor_jax.spec import plan as plans  # noqa: E402
from visor_jax.spec import shares as shares_lib  # noqa: E402
from visor_jax.spec import workdir as workdir_lib  # noqa: E402
from visor_jax.training import stages  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'The experiment, a file with get_config.', lock_config=True
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the sweep.')
_BUDGETS = flags.DEFINE_list('budgets', None, 'Shares of the FLOPs of max.')
_BUDGET_OF = flags.DEFINE_enum(
  'budget-of',
  shares_lib.PREFILL,
  tuple(shares_lib.WORDS),
  'Of which FLOPs: LLM prefill, or the vision tower and decoding, too.',
)
_ANSWER_TOKENS = flags.DEFINE_integer(
  'answer-tokens',
  1,
  'With --budget-of=total: of an answer; the first comes with the prefill.',
  lower_bound=1,
)
_ON = flags.DEFINE_enum('on', 'local', ('local', 'slurm', 'gke'), 'Where.')
_DO = flags.DEFINE_enum('do', 'eval', ('eval', 'train'), 'What.')
_TRAINED = flags.DEFINE_string(
  'trained', None, 'With --do=eval: workdir of a run that is trained.'
)
_LAUNCH = flags.DEFINE_string('launch', '', 'Options of what starts the jobs.')
_JOBS = flags.DEFINE_integer(
  'jobs', None, 'How many at a time; by default one here, all on a cluster.'
)
_DRY_RUN = flags.DEFINE_bool('dry-run', False, 'Print what would run.')

SHARED = {
  'eval': ('base', 'cross', 'full', 'search', 'universal'),
  'train': ('base', 'cross'),
}
OWN = {
  'eval': ('eval', 'report'),
  'train': ('full', 'universal', 'eval', 'report'),
}


def shares(
  config: ml_collections.ConfigDict, among: Sequence[plans.Plan] = ()
) -> dict[plans.Plan, float]:
  """Plans with their shares of max's FLOPs, of those that --budget-of says.

  Args:
    config: the whole config; lengths are those of its test questions.
    among: the plans; by default all that the layout allows.
  """
  model = resolve.architecture(config)
  suite = suites.open_suite(config, ('eval',), resolve.origin(config))
  batch = questions.sampled(suite, 'test', config.eval.examples)
  sizes = collections.Counter(
    zip(
      batch.visual().tolist(),
      batch.text().tolist(),
      batch.images(model.size.vision.patches),
    )
  )

  def flops(plan: plans.Plan) -> int:
    return sum(
      count * _flops(model, plan, costs.PromptSize(*size))
      for size, count in sizes.items()
    )

  largest = flops(model.layout.max)
  return {plan: flops(plan) / largest for plan in among or model.layout.plans}


def _flops(
  model: architecture_lib.Architecture,
  plan: plans.Plan,
  size: costs.PromptSize,
) -> int:
  if _BUDGET_OF.value == shares_lib.PREFILL:
    return costs.prefill_flops(model, plan, size.visual, size.text)
  return costs.total_flops(model, plan, size, _ANSWER_TOKENS.value)


def command(
  name: str, workdir: pathlib.Path, given: Sequence[str]
) -> list[str]:
  """What runs a job to its end, whether it was started before or not.

  Args:
    name: of the job in the sweep.
    workdir: of the job.
    given: flags of visor_jax.main, but the workdir.
  """
  job = [*given, f'--workdir={workdir}']
  # The same sweep has the same names, and may run beside others.
  mark = hashlib.sha256(str(workdir).encode()).hexdigest()[:6]
  name = f'visor-{name.replace(".", "-")}-{mark}'
  return PLACES[_ON.value](name, job, shlex.split(_LAUNCH.value))


def _local(name: str, job: list[str], options: list[str]) -> list[str]:
  if not options:
    return [sys.executable, '-m', 'visor_jax.main', *job]
  return [
    sys.executable,
    str(ROOT / 'launch' / 'local.py'),
    *options,
    '--',
    *job,
  ]


def _slurm(name: str, job: list[str], options: list[str]) -> list[str]:
  # Of one name, one runs at a time: the second finds the work done.
  return [
    'sbatch',
    '--wait',
    f'--job-name={name}',
    '--dependency=singleton',
    *options,
    str(ROOT / 'launch' / 'slurm.sh'),
    *job,
  ]


def _gke(name: str, job: list[str], options: list[str]) -> list[str]:
  return [
    sys.executable,
    str(ROOT / 'launch' / 'gke.py'),
    f'--name={name}',
    '--wait',
    *options,
    '--',
    *job,
  ]


PLACES = {'local': _local, 'slurm': _slurm, 'gke': _gke}


def run(what: str, line: Sequence[str], running: together.Jobs) -> bool:
  """Runs a command, or says what would run; whether it went well."""
  if _DRY_RUN.value:
    console.log(f'{what}: {shlex.join(line)}')
    return True
  return together.run(what, line, running)


def existing(config: ml_collections.ConfigDict, jobs: Sequence[str]) -> str:
  """Those of the jobs that this config has, as it writes them."""
  return '+'.join(
    job for job in jobs if job not in stages.STAGES or config[job].steps
  )


def link(
  folder: pathlib.Path, shared: pathlib.Path, names: Sequence[str]
) -> None:
  """Makes the stages of a shared workdir those of another, too."""
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    to = folder / name
    if (shared / name).exists() and not to.exists():
      to.symlink_to(os.path.relpath(shared / name, folder))


def choose(share: Mapping[plans.Plan, float]) -> dict[plans.Plan, str]:
  """The plans that budgets stand for, each with the first that does.

  Args:
    share: of each plan that may be chosen.

  Raises:
    ValueError: a budget is less than the cheapest takes.
  """
  chosen: dict[plans.Plan, str] = {}
  for budget in _BUDGETS.value:
    plan = budgets.most_expensive(share, float(budget), _BUDGET_OF.value)
    console.log(
      f'budget {budget}: plan {plans.name(plan)}, '
      f'{share[plan]:.3f} of {shares_lib.WORDS[_BUDGET_OF.value]}'
    )
    if plan in chosen:
      console.log(f'budget {budget}: means the plan of {chosen[plan]}')
    chosen.setdefault(plan, budget)
  return chosen


def sweep(
  config: ml_collections.ConfigDict,
  out: pathlib.Path,
  given: Sequence[str],
  running: together.Jobs,
) -> bool:
  """Runs what is not done yet, then writes the page; whether all is done.

  Args:
    config: the whole config.
    out: folder of the sweep.
    given: flags of the config, for every run.
    running: the commands that run now.
  """
  act, dry = _DO.value, _DRY_RUN.value
  layout = resolve.architecture(config).layout
  least = shares(config, (layout.min, layout.max))
  for budget in _BUDGETS.value:
    # Now, not after the shared job.
    budgets.most_expensive(least, float(budget), _BUDGET_OF.value)
  shared = paths.local(_TRAINED.value or out / 'shared', '--trained')
  done = out / 'shared.done'
  if not (_TRAINED.value or done.exists()):
    jobs = f'--config.jobs={existing(config, SHARED[act])}'
    if not run('shared', command('shared', shared, [*given, jobs]), running):
      return False
    if not dry:
      files.write_atomic(done, '')
  searched = act == 'eval' and (shared.exists() or not dry)
  viable = (
    outcomes.viable_plans(workdir_lib.Workdir(shared), layout)
    if searched
    else ()
  )
  chosen = choose(shares(config, viable))

  def run_budget(plan: plans.Plan, budget: str) -> bool:
    folder = out / f'budget-{budget}'
    if together.is_done(f'budget {budget}', folder):
      return True
    if not dry:
      link(folder, shared.absolute(), SHARED[act])
    keys = {'jobs': existing(config, OWN[act]), 'eval.plans': plans.name(plan)}
    if act == 'train':
      keys |= {f'{s}.plan': plans.name(plan) for s in ('full', 'universal')}
    overrides = [f'--config.{key}={value}' for key, value in keys.items()]
    line = command(f'budget-{budget}', folder, [*given, *overrides])
    return run(f'budget {budget}', line, running)

  at_a_time = _JOBS.value or (1 if _ON.value == 'local' else len(chosen))
  at_a_time = 1 if dry else at_a_time  # what it says is in order
  with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
    succeeded = list(pool.map(run_budget, chosen, chosen.values()))
  if not (dry or running.stopped_by):
    together.report(out, [out / f'budget-{b}' for b in chosen.values()])
  return all(succeeded)


def _main(argv: Sequence[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  config, running = _CONFIG.value, together.Jobs()
  given = [a for a in sys.argv[1:] if a.lstrip('-').startswith('config')]
  running.pass_on_signals()
  try:
    out = paths.local(_WORKDIR.value, '--workdir').absolute()
    validate.validate(config)
    done = sweep(config, out, given, running)
    if running.stopped_by:
      sys.exit(128 + running.stopped_by)
    sys.exit(0 if done else 1)
  except (OSError, ValueError) as e:
    print(f'error: {e}', file=sys.stderr)
    sys.exit(1)


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir', 'budgets'])
  app.run(_main)
