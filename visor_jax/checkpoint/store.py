"""Saving and restoring: the only room that knows orbax.

A stage saves into a folder of its own: {step}/params, {step}/opt. A checkpoint
counts from the moment on that each process has left the hashes of the files
that it wrote, see manifest.py; older ones are deleted after that, never before.

  python -m visor_jax.checkpoint verify DIR
"""

from collections.abc import Sequence
import itertools
import pathlib
import types
from typing import Self
from typing import TypeAlias

import jax
import orbax.checkpoint as ocp

from visor_jax.checkpoint import manifest
from visor_jax.checkpoint import orbax_paths
from visor_jax.checkpoint import saving
from visor_jax.checkpoint import steps as steps_lib
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import param_paths
from visor_jax.runtime import paths
from visor_jax.runtime import retry

# Nested containers of jax.Array, or of jax.ShapeDtypeStruct.
Tree: TypeAlias = saving.Tree


class Checkpoints:
  """The checkpoints of one stage.

  Attributes:
    folder: absolute path, with a folder for each step.

  Args:
    folder: path, with a folder for each step.
    keep: number of the newest to keep.
  """

  def __init__(self, folder: pathlib.Path | str, keep: int = 2):
    self.folder = paths.parse(folder, 'the checkpoint').absolute()
    self._saver = saving.Saver(self.folder, keep)
    self._good: set[int] = set()  # steps that this process knows to be good

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: types.TracebackType | None,
  ) -> None:
    try:
      self.wait()
    except Exception as e:
      if isinstance(error, Exception):  # what came first counts
        console.log(f'and the last checkpoint was not saved: {e}')
      else:
        raise
    finally:
      self._saver.close()

  def resume(self) -> int:
    """The step of the newest good checkpoint, 0 where nothing was ever saved.

    Those that it passes over, it names. One alone that is unfinished is what a
    run leaves that was killed in its first save: nothing is lost.

    Raises:
      Refusal: there are checkpoints, and none of them is good.
      Passing: one cannot be read now; it may be good.
    """
    unfinished = 0
    # All processes must go the same way, that of the first.
    saved, *_ = cluster.allgather_json(
      cluster.all_or_raise(
        'listing the checkpoints', lambda: steps_lib.steps(self.folder)
      )
    )
    for path in steps_lib.others(self.folder):
      console.log(f'passed over, {path} is no checkpoint')
    for step in reversed(saved):
      path, faults = self.folder / str(step), self._faults(step)
      if not faults:
        for file in manifest.strays(path):
          console.log(f'passed over, {path / file} is no part of a checkpoint')
        return step
      if any(manifest.UNREADABLE in fault for fault in faults):
        raise errors.Passing(
          f'{message(path, faults)}\nIt may be good. If it cannot be read any '
          'more, delete its folder to go on from the checkpoint before it'
        )
      unfinished += faults[0].startswith(manifest.UNFINISHED)
      console.log(f'passed over, {message(path, faults)}')
    if len(saved) > 1 or len(saved) > unfinished:
      raise errors.Refusal(
        f'no checkpoint in {self.folder} is good, and to start afresh would '
        'lose what they have been; put a good copy back, or delete that '
        'folder to start this stage afresh'
      )
    return 0

  def save(self, step: int, params: Tree, opt: Tree | None = None) -> None:
    """Starts saving; the arrays may be donated as soon as it returns.

    Args:
      step: number of steps that the parameters have learned.
      params: tree of arrays.
      opt: state of the optimizer, likewise; None for parameters alone.

    Raises:
      Refusal: something else lies where the checkpoint shall be.
      Passing: this save or the one before it failed for good.
    """
    self._good.discard(step)
    self._saver.save(step, _items(params, opt))

  def wait(self) -> None:
    """Returns when the last save is on disk.

    Raises:
      Passing: it failed for good.
    """
    self._saver.wait()

  def shapes(self, step: int) -> Tree:
    """Shapes and dtypes of a step's parameters, as a tree.

    Raises:
      Refusal: the checkpoint is bad.
      Passing: it cannot be read now.
    """
    self._require_good(step)
    path = self.folder / str(step)
    try:
      return (
        ocp.PyTreeCheckpointHandler()
        .metadata(orbax_paths.of(path / 'params'))
        .tree
      )
    except Exception as e:  # orbax raises whatever its storage raises
      raise errors.Passing(f'checkpoint {path} cannot be read: {e}') from e

  def restore(
    self, step: int, params: Tree, opt: Tree | None = None
  ) -> tuple[Tree, Tree | None]:
    """Reads a step, after all its files are checked to be what was written.

    Args:
      step: one of `steps`.
      params: tree of jax.ShapeDtypeStruct with target shardings.
      opt: likewise, or None to leave the optimizer's state on disk.

    Returns:
      Trees of arrays in place of `params` and of `opt`.

    Raises:
      Refusal: the checkpoint is bad, or of other parameters.
      Passing: it cannot be read now.
    """
    self._require_good(step)
    path = self.folder / str(step)
    arguments = {
      name: ocp.args.StandardRestore(tree)
      for name, tree in _items(params, opt).items()
    }

    def read() -> ocp.args.Composite:
      try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
          return reader.restore(
            orbax_paths.of(path), ocp.args.Composite(**arguments)
          )
      except Exception as e:  # orbax raises whatever its storage raises
        self._require_fit(step, params)
        raise errors.Passing(f'checkpoint {path} cannot be read: {e}') from e

    trees = retry.retry(f'restoring {path}', read)
    return trees['params'], trees.get('opt')

  def _require_good(self, step: int) -> None:
    """Raises unless the files of a step are those that were written."""
    faults = self._faults(step)
    if not faults:
      return
    text = message(self.folder / str(step), faults)
    if any(manifest.UNREADABLE in fault for fault in faults):
      raise errors.Passing(text)
    raise errors.Refusal(
      f'{text}\nPut a good copy back, or run again what '
      'wrote it: a stage goes on from the newest checkpoint that is good.'
    )

  def _require_fit(self, step: int, params: Tree) -> None:
    """Raises unless a step has these parameters, in these shapes."""
    there, here = (
      {name: tuple(x.shape) for name, x in param_paths.flatten(tree).items()}
      for tree in (self.shapes(step), params)
    )
    lines = [
      f'  {name}: here {here.get(name)}, there {there.get(name)}'
      for name in sorted(here.keys() | there.keys())
      if here.get(name) != there.get(name)
    ]
    if lines:
      raise errors.Refusal(
        f'checkpoint {self.folder / str(step)} is of another model:\n'
        + '\n'.join(lines[:10])
        + (f'\n  and {len(lines) - 10} more' if len(lines) > 10 else '')
      )

  def _faults(self, step: int) -> list[str]:
    """As manifest.faults; processes share the work, and know the same."""
    if step in self._good:
      return []
    local = manifest.faults(
      self.folder / str(step), jax.process_index(), jax.process_count()
    )
    faults = sorted(set(itertools.chain(*cluster.allgather_json(local))))
    if not faults:
      self._good.add(step)
    return faults


def _items(params: Tree, opt: Tree | None) -> dict[str, Tree]:
  """What a checkpoint holds, by the names of its folders."""
  return {'params': params} | ({} if opt is None else {'opt': opt})


def abstract(tree: Tree, shardings: Tree) -> Tree:
  """Shapes and dtypes of a tree with their target shardings."""
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    tree,
    shardings,
  )


def message(path: pathlib.Path, faults: Sequence[str]) -> str:
  """What is wrong with a checkpoint, a line for each fault."""
  return f'checkpoint {path} is not good:' + ''.join(f'\n  {f}' for f in faults)
