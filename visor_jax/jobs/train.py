"""A training stage as a job; that of the router is calibrated behind it."""

from visor_jax.jobs import calibrate
from visor_jax.jobs import labels
from visor_jax.jobs import run as run_lib
from visor_jax.runtime import outcomes
from visor_jax.training import loop


def train(run: run_lib.Run, stage: str) -> None:
  """Trains a stage that learns from answers.

  Args:
    run: what it works with.
    stage: its name.

  Raises:
    ValueError: a job that it needs has not run.
  """
  draws_plans = run.config[stage].plan == 'viable'
  loop.train(stage, run.inputs(run.viable if draws_plans else ()))


def train_router(run: run_lib.Run, stage: str) -> None:
  """Trains a stage that learns to choose plans, and calibrates it.

  Args:
    run: what it works with.
    stage: its name.

  Raises:
    ValueError: a job that it needs has not run, or ran for other plans.
  """
  outcomes.check_router(run.workdir, run.viable)
  to_learn, held_out = labels.split(run.labels, run.config)
  loop.train(stage, run.inputs(run.viable, to_learn))
  calibrate.calibrate(run, run.model(stage, run.viable), held_out)
