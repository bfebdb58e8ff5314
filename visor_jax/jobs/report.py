"""The report job: a page of what the run has reached, and its summary."""

from visor_jax.jobs import run as run_lib
from visor_jax.report import read
from visor_jax.report import tables
from visor_jax.runtime import cluster
from visor_jax.runtime import console


def report(run: run_lib.Run) -> None:
  """Writes the page and prints the summary; process 0 does."""
  if cluster.is_primary():
    from visor_jax.report import page  # and matplotlib: only who draws waits

    workdir = run.workdir
    console.log(f'report: {page.write(workdir.path, workdir.report)}')
    print(tables.summary(read.results(workdir.path)))
