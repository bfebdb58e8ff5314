"""Trains, evaluates and reports: the jobs of a config.

  python -m visor_jax.main --config=FILE --workdir=WORKDIR

  --config=experiments/quickstart.py                   all jobs, in order
  --config=experiments/quickstart.py:jobs=universal   one of them
  --config.seed=3                                      any key of config.py

Started again with the same command, a run that was cut off goes on where it
was. SIGTERM ends it with code 75 as soon as its step is saved, or its chunk of
answers written. Jobs: base, cross, full, search, universal, label, policy,
eval, report.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import platform
import re
import sys
import time
import traceback

from absl import app
from absl import flags
from absl import logging
from flax import traverse_util
import jax
from ml_collections import config_flags

from visor_jax import config as config_lib
from visor_jax.checkpoint import resolve
from visor_jax.data.suites import table as suites
from visor_jax.eval import run as run_lib
from visor_jax.jobs import calibrate
from visor_jax.jobs import evaluate
from visor_jax.jobs import labels as labels_lib
from visor_jax.jobs import search
from visor_jax.jobs import validate
from visor_jax.report import page
from visor_jax.report import tables
from visor_jax.runtime import claim
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import environment
from visor_jax.runtime import files
from visor_jax.runtime import identity as identity_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import preempt
from visor_jax.runtime import provenance
from visor_jax.runtime import xla_flags
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import loop
from visor_jax.training import model as model_lib
from visor_jax.training import weights

# Exit codes that launchers know, beside preempt.EXIT: nothing would change by
# trying again; it may go better next time.
REFUSED, DIED = 1, 70

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'The experiment, a file with get_config.', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run: checkpoints, answers, report.'
)
_CHECKPOINT = flags.DEFINE_string(
  'checkpoint',
  None,
  'A workdir or an imported checkpoint to evaluate; '
  'short for --config.eval.checkpoint.',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  None,
  'host:port of process 0, where no cluster says it; '
  'also JAX_COORDINATOR_ADDRESS.',
)
_PROCESSES = flags.DEFINE_integer(
  'processes', None, 'How many there are; also JAX_NUM_PROCESSES.'
)
_PROCESS = flags.DEFINE_integer(
  'process', None, 'Which this is, from 0; also JAX_PROCESS_ID.'
)
_PATIENCE = flags.DEFINE_integer(
  'patience', 300, 'Seconds to wait for the other processes at the start.'
)


def run(config, workdir) -> None:
  """Runs the jobs that the config asks for.

  Raises:
    ValueError: naming what is wrong with config or workdir, and the remedy.
  """
  validate.validate(config)
  if config.eval.checkpoint:
    evaluate.check_checkpoint(config)
  patience = 120 * (jax.process_count() > 1)
  with claim.claim(workdir, config, patience) as claimed:
    folder = claimed.path
    if cluster.is_primary():
      resolve.keep(claimed, resolve.architecture(config))
    mesh = mesh_lib.make(**config.mesh)
    _check_batches(config, mesh)
    jobs = config_lib.jobs(config)
    suite = cluster.all_or_raise(
      'opening the data',
      lambda: suites.open_suite(config, jobs, resolve.origin(config)),
    )
    tests = cluster.all_or_raise(
      'opening the tests',
      lambda: evaluate.tests(config, suite) if 'eval' in jobs else [],
    )
    claim.check_same_data(
      folder, suite.fingerprints | evaluate.fingerprints(config, tests)
    )
    console.log(
      f'config {identity_lib.fingerprint(config)}, workdir {folder}, mesh '
      + ' x '.join(f'{k} {v}' for k, v in mesh.shape.items())
    )
    began = time.monotonic()
    for number, job in enumerate(jobs, start=1):
      start = time.monotonic()
      if preempt.requested():
        console.log(f'SIGTERM; the same command goes on with {job}')
        sys.exit(preempt.EXIT_CODE)
      console.log(f'job {number} of {len(jobs)}: {job}')
      with mesh_lib.use_mesh(mesh):
        _job(job, config, folder, mesh, suite, tests)
        cluster.exchange(f'end of {job}')  # what it left is there for all
      console.log(f'{job}: took {console.duration(time.monotonic() - start)}')
    console.log(f'all done in {console.duration(time.monotonic() - began)}')


def _check_batches(config, mesh):
  """Finds now what would else be found hours later."""
  mesh_lib.check_batch('eval', config.eval.batch, mesh)
  for name in config_lib.STAGES:
    stage = config[name]
    mesh_lib.check_batch(name, stage.batch, mesh, stage.accumulate)


def _job(job, config, folder, mesh, suite, tests):
  """One job."""
  inputs = inputs_lib.Inputs(
    config, workdir_lib.Workdir(pathlib.Path(folder)), mesh, suite
  )
  restore = functools.cache(lambda stage: weights.restore(stage, inputs))

  def subject(stage, viable=(), confidence=None, reduction=None):
    if config.eval.checkpoint and stage != 'base':
      stage = 'universal'  # its weights are those of the router, too
    model = model_lib.build(config)
    if reduction is not None:
      model = model.with_reduction(reduction)
    return run_lib.ModelUnderTest(
      model, restore(stage), mesh, suite, viable, confidence
    )

  if job == 'search':
    search.search(subject('full'), folder, config)
  elif job == 'label':
    labels_lib.label(subject('universal', search.load(folder)), folder, config)
  elif job == 'policy':
    viable = search.load(folder)
    labels, held_out = labels_lib.to_learn(labels_lib.load(folder), config)
    loop.train(job, dataclasses.replace(inputs, viable=viable, labels=labels))
    calibrate.calibrate(subject(job, viable), held_out, folder, config)
  elif job == 'eval':
    evaluate.evaluate(
      config,
      folder,
      subject,
      tests,
      dict(
        seed=config.seed,
        versions=provenance.versions(),
        config=identity_lib.fingerprint(config),
      ),
    )
  elif job == 'report':
    if cluster.is_primary():
      rows = files.read_jsonl(folder / 'results.jsonl')
      console.log(f'report: {page.write(folder, folder / "report")}')
      print(tables.summary(rows))
  elif config[job].plan == 'viable':
    loop.train(job, dataclasses.replace(inputs, viable=search.load(folder)))
  else:
    loop.train(job, inputs)


def _start(config):
  """Joins the other processes, if there are any; process 0 says whom it found.

  Raises:
    TimeoutError: naming who is missing.
    ValueError: naming who differs in code, versions or config.
  """
  xla_flags.set_overlap_flags(os.environ)
  given = zip(environment.EXPLICIT, (_COORDINATOR, _PROCESSES, _PROCESS))
  process = environment.find_process(
    os.environ
    | {name: str(flag.value) for name, flag in given if flag.value is not None},
    _PATIENCE.value,
  )
  code, of = provenance.code(), provenance.versions()
  facts = (
    {'the code of visor_jax': code}
    | of
    | {
      f'config.{key}': value
      for key, value in traverse_util.flatten_dict(
        config.to_dict(), sep='.'
      ).items()
    }
  )
  cluster.join(process, facts, _PATIENCE.value)
  if not cluster.is_primary():
    console.mute()
  hosts = cluster.hosts()
  console.log(
    f'{process.count} process(es) on {", ".join(hosts[:8])}'
    + f' and {len(hosts) - 8} more' * (len(hosts) > 8)
    + f' ({process.source}), {len(jax.devices())} '
    f'{jax.devices()[0].device_kind} device(s); code {code}, '
    + ', '.join(f'{name} {version}' for name, version in of.items())
  )


def _keep_programs(config, workdir):
  """Compiled programs outlive the process, unless jax was told where.

  Each kind of host has its own: another may lack instructions that they use.
  """
  if config.compilation_cache and not jax.config.jax_compilation_cache_dir:
    facts = pathlib.Path('/proc/cpuinfo')  # of Linux
    text = facts.read_text() if facts.exists() else ''
    able = re.findall(r'^(?:flags|Features).*', text, re.MULTILINE)[:1]
    kind = f'{platform.machine()} {able}'.encode()
    jax.config.update(
      'jax_compilation_cache_dir',
      str(
        pathlib.Path(
          workdir,
          config.compilation_cache,
          hashlib.sha256(kind).hexdigest()[:12],
        ).absolute()
      ),
    )


def _main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {argv[1:]}')
  logging.set_verbosity(logging.WARNING)  # orbax tells every detail of a save
  if _CHECKPOINT.value is not None:
    _CONFIG.value.eval.checkpoint = _CHECKPOINT.value
  try:
    _start(_CONFIG.value)
    preempt.install_handler()
    _keep_programs(_CONFIG.value, _WORKDIR.value)
    run(_CONFIG.value, _WORKDIR.value)
  except (TimeoutError, ValueError) as e:
    print(f'error: {e}', file=sys.stderr)
    sys.exit(REFUSED if isinstance(e, ValueError) else DIED)
  except Exception:  # a peer that is gone, a full disk, a bug
    traceback.print_exc()
    sys.exit(DIED)


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir'])
  app.run(_main)
