"""Numbers of a job, step by step, to whoever keeps them.

`log.writers` of the config names them: jsonl, which the report reads,
TensorBoard, Weights & Biases, or one of your own in `WRITERS`. A run that was
cut off does its last steps again; no writer shows them twice.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib
from typing import Protocol
from typing import Self
import uuid

import ml_collections

from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.runtime import paths
from visor_jax.spec import workdir as workdir_lib

Number = int | float


class MetricWriter(Protocol):
  """Keeps the numbers of a job."""

  def write(self, step: int, numbers: Mapping[str, Number]) -> None:
    """Takes what a step has to say; steps rise."""
    ...

  def close(self) -> None:
    """Everything is kept when it returns."""
    ...


@dataclasses.dataclass(frozen=True)
class Destination:
  """Whose numbers, and where they go.

  Attributes:
    config: the whole config.
    workdir: of the run.
    job: its name.
    step: later steps are of a run that was cut off: they come again.
  """

  config: ml_collections.ConfigDict
  workdir: workdir_lib.Workdir
  job: str
  step: int = 0


class JsonLines:
  """A row for each step, in a file of its own; later steps go.

  Args:
    path: of the file.
    step: rows after this step are of a run that was cut off.
  """

  def __init__(self, path: pathlib.Path | str, step: int = 0):
    path = paths.parse(path)
    rows = [row for row in files.read_jsonl(path) if row['step'] <= step]
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    files.write_atomic(path, text)
    # Nothing can be added to an object: it is written anew.
    self._path, self._text = path, text
    self._file = None if paths.in_bucket(path) else open(path, 'a')

  def write(self, step: int, numbers: Mapping[str, object]) -> None:
    """A row is on disk when it returns."""
    line = json.dumps({'step': step, **numbers}) + '\n'
    if self._file:
      self._file.write(line)
      self._file.flush()
    else:
      self._text += line
      files.write_atomic(self._path, self._text)

  def close(self) -> None:
    if self._file:
      self._file.close()


class TensorBoard:
  """Scalars of a folder of events; later steps are not shown.

  Raises:
    ValueError: tensorboardX is not installed.
  """

  def __init__(self, destination: Destination):
    try:
      import tensorboardX
    except ImportError:
      raise _not_installed('tensorboard', 'tensorboardX') from None
    self._writer = tensorboardX.SummaryWriter(
      str(destination.workdir.tensorboard(destination.job)),
      purge_step=destination.step + 1,
      filename_suffix=f'.{destination.step}',
    )

  def write(self, step: int, numbers: Mapping[str, Number]) -> None:
    for name, value in numbers.items():
      self._writer.add_scalar(name, value, step)
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()


class WeightsAndBiases:
  """A run of Weights & Biases for each job; `log.wandb` names the project.

  A job that goes on goes on with its run there, whose steps only rise: what
  comes again is dropped. Account, server and offline mode are what wandb's own
  variables say, as WANDB_MODE=offline.

  Raises:
    ValueError: wandb is not installed.
  """

  def __init__(self, destination: Destination):
    try:
      import wandb
    except ImportError:
      raise _not_installed('wandb', 'wandb') from None
    workdir, job = destination.workdir, destination.job
    folder = workdir.wandb(job)
    self._run = wandb.init(
      project=destination.config.log.wandb,
      id=_run_id(folder / 'run_id', fresh=not destination.step),
      resume='allow',
      name=f'{workdir.path.name}/{job}',
      group=workdir.path.name,
      job_type=job,
      config=destination.config.to_dict(),
      # In which it makes the folder wandb itself.
      dir=str(paths.cache() if paths.in_bucket(folder) else folder.parent),
      settings=wandb.Settings(console='off', silent=True),
    )

  def write(self, step: int, numbers: Mapping[str, Number]) -> None:
    self._run.log(dict(numbers), step=step)

  def close(self) -> None:
    self._run.finish()


def _run_id(path: pathlib.Path, fresh: bool) -> str:
  """The name of a job's run at Weights & Biases, kept beside its files."""
  if fresh or not path.exists():
    files.write_atomic(path, uuid.uuid4().hex[:12])
  return path.read_text()


def _not_installed(writer: str, package: str) -> ValueError:
  return ValueError(
    f'log.writers has {writer}, which needs {package}: '
    f"pip install 'visor_jax[{writer}]'"
  )


def _jsonl(destination: Destination) -> JsonLines:
  path = destination.workdir.metrics(destination.job)
  return JsonLines(path, destination.step)


WRITERS: dict[str, Callable[[Destination], MetricWriter]] = {
  'jsonl': _jsonl,
  'tensorboard': TensorBoard,
  'wandb': WeightsAndBiases,
}


def names(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  """The writers that `log.writers` names, joined by '+'.

  Raises:
    ValueError: there is none of that name.
  """
  chosen = tuple(name for name in config.log.writers.split('+') if name)
  for name in chosen:
    if name not in WRITERS:
      raise errors.Refusal(
        f'log.writers has "{name}", which is not one of {", ".join(WRITERS)}'
      )
  return chosen


class MetricLog:
  """Hands the numbers of a job on to its writers.

  Args:
    writers: that keep them.
  """

  def __init__(self, writers: Sequence[MetricWriter]):
    self._writers = tuple(writers)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exc: object) -> None:
    for writer in self._writers:
      writer.close()

  def write(self, step: int, numbers: Mapping[str, Number]) -> None:
    """Numbers of a step; steps rise."""
    for writer in self._writers:
      writer.write(step, numbers)


def open_log(
  config: ml_collections.ConfigDict,
  workdir: workdir_lib.Workdir,
  job: str,
  step: int = 0,
) -> MetricLog:
  """Where the numbers of a job go: what one process writes, for all of them.

  Args:
    config: the whole config.
    workdir: of the run.
    job: its name.
    step: the job goes on from here; what was written of later steps goes.

  Raises:
    ValueError: a writer is unknown, or its library is not installed.
  """
  chosen = names(config)
  if console.muted():
    return MetricLog(())
  destination = Destination(config, workdir, job, step)
  return MetricLog([WRITERS[name](destination) for name in chosen])
