"""The jobs as a table, and the loop over those that a config asks for."""

from collections.abc import Callable
import dataclasses
import functools
import pathlib
import sys
import time

import ml_collections

from visor_jax.jobs import evaluate
from visor_jax.jobs import labels
from visor_jax.jobs import opening
from visor_jax.jobs import order
from visor_jax.jobs import report
from visor_jax.jobs import run as run_lib
from visor_jax.jobs import search
from visor_jax.jobs import train
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import identity
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import preempt
from visor_jax.training import stages

Job = Callable[[run_lib.Run], object]

# What is no training stage.
ACTS: dict[str, Job] = {
  'search': search.search,
  'label': labels.label,
  'eval': evaluate.evaluate,
  'report': report.report,
}


def jobs() -> dict[str, Job]:
  """Every job by its name, in the order in which they run.

  Raises:
    ValueError: a stage needs a job that nobody does.
  """
  table: dict[str, Job] = {}
  for name in order.names():
    if name in stages.STAGES:
      learns_to_choose = stages.named(name).feed.labels > 0
      act = train.train_router if learns_to_choose else train.train
      table[name] = functools.partial(act, stage=name)
    elif name in ACTS:
      table[name] = ACTS[name]
    else:
      raise ValueError(
        f'a stage needs the job "{name}", which is none of {", ".join(ACTS)}'
      )
  return table


def run_jobs(
  config: ml_collections.ConfigDict, path: pathlib.Path | str
) -> None:
  """Runs the jobs that the config asks for.

  Args:
    config: the whole config.
    path: folder of the run; made if it is not there.

  Raises:
    Refusal: naming what is wrong with config or workdir, and the remedy.
    SystemExit: it was told to leave; what was done is kept.
  """
  with opening.open_run(config, path) as run:
    asked, table = order.asked(config), jobs()
    console.log(
      f'config {identity.fingerprint(config)}, '
      f'workdir {run.workdir.path}, mesh '
      + ' x '.join(f'{axis} {size}' for axis, size in run.mesh.shape.items())
    )
    began = time.monotonic()
    for number, name in enumerate(asked, start=1):
      start = time.monotonic()
      if preempt.requested():
        console.log(f'{preempt.reason()}; the same command goes on with {name}')
        sys.exit(preempt.EXIT_CODE)
      console.log(f'job {number} of {len(asked)}: {name}')
      with mesh_lib.use_mesh(run.mesh):
        # A Run of its own: the parameters that it restores go with it.
        table[name](dataclasses.replace(run))
        cluster.exchange(f'end of {name}')  # what it left is there for all
      console.log(f'{name}: took {console.duration(time.monotonic() - start)}')
    console.log(f'all done in {console.duration(time.monotonic() - began)}')
