"""Saving the checkpoints of a stage, again where that may help.

A checkpoint counts from the moment on that each process has left the hashes of
the files that it wrote, see manifest.py; older ones are deleted after that,
never before.
"""

from collections.abc import Mapping
import concurrent.futures
import contextlib
import dataclasses
import pathlib
import time
from typing import Any
from typing import TypeAlias

import jax
import orbax.checkpoint as ocp

from visor_jax.checkpoint import manifest
from visor_jax.checkpoint import orbax_paths
from visor_jax.checkpoint import steps as steps_lib
from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.runtime import retry

# Nested containers of jax.Array, or of jax.ShapeDtypeStruct.
Tree: TypeAlias = Any

# Bytes of a file; orbax holds a file's bytes until it is full, else at 2 GB.
_FILE_SIZE = 64 * 2**20


@dataclasses.dataclass
class _Save:
  """A save that was started.

  Attributes:
    step: the step.
    trees: what is saved, by the names of its folders.
    done: done when the checkpoint counts, as far as this process knows.
  """

  step: int
  trees: Mapping[str, Tree]
  done: concurrent.futures.Future

  def error(self) -> BaseException | None:
    """Why it failed, None if it did not; waits until it is known."""
    return self.done.exception()

  def repeatable(self) -> bool:
    """Whether it can be started again.

    Its arrays may have been donated since. Several processes save together,
    and one that fails cannot tell the others to start again.
    """
    return jax.process_count() == 1 and not any(
      isinstance(leaf, jax.Array) and leaf.is_deleted()
      for leaf in jax.tree.leaves(self.trees)
    )


class Saver:
  """Saves one step after the other, each beside the work that goes on.

  A save that fails is tried again while its arrays are there; else the next one
  stands for it, a few times in a row at most.

  Args:
    folder: absolute path, with a folder for each step.
    keep: number of the newest to keep.
  """

  def __init__(self, folder: pathlib.Path, keep: int):
    self._folder = folder
    self._keep = keep
    # Made in the background, a folder that fails is waited for in vain.
    options = ocp.options.AsyncOptions(create_directories_asynchronously=False)
    atomicity = orbax_paths.atomicity(folder)
    handler = ocp.CompositeCheckpointHandler(
      'params',
      'opt',
      composite_options=ocp.CompositeOptions(
        async_options=options, atomicity_options=atomicity
      ),
    )
    self._writer = ocp.AsyncCheckpointer(
      handler, async_options=options, atomicity_options=atomicity
    )
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._last: _Save | None = None
    self._given_up = 0  # saves in a row for which the next one stood

  def save(self, step: int, trees: Mapping[str, Tree]) -> None:
    """Starts saving; the arrays may be donated as soon as it returns.

    Args:
      step: the step.
      trees: what is saved, by the names of its folders.

    Raises:
      Refusal: something else lies where the checkpoint shall be.
      Passing: saves failed for good.
    """
    self._settle(step)
    steps_lib.require_free(self._folder / str(step))
    self._last = _Save(step, trees, self._start(step, trees))
    if self._last.done.done():  # it failed before it was begun
      self.wait()

  def wait(self) -> None:
    """Returns when the last save is on disk.

    Raises:
      Passing: it failed for good.
    """
    last, self._last = self._last, None
    if last is None:
      return
    for seconds in retry.WAITS:
      if last.error() is None or not last.repeatable():
        break
      self._log(last, f'trying again in {seconds:g} s')
      time.sleep(seconds)
      self._make_room()
      last.done = self._start(last.step, last.trees)
    self._raise_if_failed(last)
    self._given_up = 0

  def close(self) -> None:
    """Lets go of what it holds; to be called after `wait`."""
    self._pool.shutdown()
    with contextlib.suppress(Exception):  # of a save, told by `wait`
      self._writer.close()

  def _start(
    self, step: int, trees: Mapping[str, Tree]
  ) -> concurrent.futures.Future:
    """Starts saving, and the hashing behind it."""
    arguments = {
      name: ocp.args.PyTreeSave(tree, ocdbt_target_data_file_size=_FILE_SIZE)
      for name, tree in trees.items()
    }
    try:
      self._writer.save(
        orbax_paths.of(self._folder / str(step)),
        ocp.args.Composite(**arguments),
        force=True,  # a checkpoint that was passed over is replaced
      )
    except Exception as e:  # orbax raises whatever its storage raises
      failed: concurrent.futures.Future = concurrent.futures.Future()
      failed.set_exception(e)
      return failed
    return self._pool.submit(self._seal, step)

  def _seal(self, step: int) -> None:
    """Writes this process's hashes, and deletes what is not kept."""
    self._writer.wait_until_finished()
    path, process = self._folder / str(step), jax.process_index()
    files.write_atomic(
      path / manifest.name(process),
      manifest.text(path, process, jax.process_count()),
    )
    if process == 0:
      self._delete(step)

  def _delete(self, newest: int) -> None:
    """Deletes all but `keep` finished steps, the newest among them.

    Others may not have left their hashes of it yet; then one more is kept. What
    is newer was passed over by `resume`, and what is no step was left by orbax
    or by a run that was killed right here.
    """
    finished = [
      step
      for step in steps_lib.steps(self._folder)
      if step <= newest and manifest.finished(self._folder / str(step))
    ]
    steps_lib.delete(self._folder, {*finished[-self._keep :], newest})

  def _settle(self, step: int) -> None:
    """Waits for the save before that of `step`, which may stand for it."""
    last, self._last = self._last, None
    if last is None or last.error() is None:
      self._given_up = 0
      return
    if jax.process_count() > 1 or self._given_up == len(retry.WAITS):
      self._raise_if_failed(last)
    self._given_up += 1
    self._log(last, f'step {step} stands for it')
    self._make_room()

  def _make_room(self) -> None:
    """Deletes what failed saves have left: the disk may be full of it."""
    steps_lib.delete(self._folder, steps_lib.steps(self._folder))

  def _log(self, last: _Save, what: str) -> None:
    console.log(
      f'{self._folder / str(last.step)} was not saved: {last.error()}; {what}'
    )

  def _raise_if_failed(self, last: _Save) -> None:
    error = last.error()
    if error is not None:
      raise errors.Passing(
        f'{self._folder / str(last.step)} was not saved: {error}'
      ) from error
