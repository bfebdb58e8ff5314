"""Saving and restoring: the only room that knows orbax.

A stage saves into a folder of its own: {step}/params, {step}/opt. A checkpoint
counts from the moment on that each process has left the hashes of the files
that it wrote, see manifest.py; older ones are deleted after that, never before.

  python -m visor_jax.checkpoint verify DIR
"""

from collections.abc import Sequence
import concurrent.futures
import itertools
import pathlib
import shutil
from typing import Any
from typing import Self
from typing import TypeAlias

import jax
import orbax.checkpoint as ocp

from visor_jax.checkpoint import manifest
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import files

# Nested containers of jax.Array, or of jax.ShapeDtypeStruct.
Tree: TypeAlias = Any

# Bytes of a file; orbax holds a file's bytes until it is full, else at 2 GB.
_FILE_SIZE = 64 * 2**20


class Checkpoints:
  """The checkpoints of one stage.

  Attributes:
    folder: absolute path, with a folder for each step.

  Args:
    folder: path, with a folder for each step.
    keep: number of the newest to keep.
  """

  def __init__(self, folder: pathlib.Path | str, keep: int = 2):
    self.folder = pathlib.Path(folder).absolute()
    self._keep = keep
    self._writer = ocp.AsyncCheckpointer(
      ocp.CompositeCheckpointHandler('params', 'opt')
    )
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._sealed = self._pool.submit(lambda: None)  # the last save is done
    self._good: set[int] = set()  # steps that this process knows to be good

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exc: object) -> None:
    try:
      self.wait()
    finally:
      self._pool.shutdown()
      self._writer.close()

  def resume(self) -> int:
    """The step of the newest good checkpoint, 0 where nothing was ever saved.

    Those that it passes over, it names. One alone that is unfinished is what a
    run leaves that was killed in its first save: nothing is lost.

    Raises:
      ValueError: there are checkpoints, and none of them is good.
    """
    unfinished = 0
    # All processes must go the same way, that of the first.
    saved, *_ = cluster.allgather_json(steps(self.folder))
    for step in reversed(saved):
      faults = self._faults(step)
      if not faults:
        return step
      unfinished += faults[0].startswith(manifest.UNFINISHED)
      console.log(f'passed over, {message(self.folder / str(step), faults)}')
    if len(saved) > 1 or len(saved) > unfinished:
      raise ValueError(
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
      Exception: of orbax, when the save before this one failed.
    """
    self.wait()
    arguments = {
      name: ocp.args.PyTreeSave(tree, ocdbt_target_data_file_size=_FILE_SIZE)
      for name, tree in _items(params, opt).items()
    }
    self._writer.save(
      self.folder / str(step),
      ocp.args.Composite(**arguments),
      force=True,  # a checkpoint that was passed over is replaced
    )
    self._sealed = self._pool.submit(self._seal, step)

  def wait(self) -> None:
    """Returns when the last save is on disk; raises if it failed."""
    self._sealed.result()

  def shapes(self, step: int) -> Tree:
    """Shapes and dtypes of a step's parameters, as a tree.

    Raises:
      ValueError: the checkpoint is bad.
    """
    self._require_good(step)
    return (
      ocp.PyTreeCheckpointHandler()
      .metadata(self.folder / str(step) / 'params')
      .tree
    )

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
      ValueError: the checkpoint is bad, or does not fit, or cannot be read.
    """
    self._require_good(step)
    path = self.folder / str(step)
    arguments = {
      name: ocp.args.StandardRestore(tree)
      for name, tree in _items(params, opt).items()
    }
    try:
      with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        trees = reader.restore(path, ocp.args.Composite(**arguments))
    except Exception as e:  # orbax raises whatever its storage raises
      raise ValueError(f'checkpoint {path} cannot be restored: {e}') from e
    return trees['params'], trees.get('opt')

  def _require_good(self, step: int) -> None:
    faults = self._faults(step)
    if faults:
      raise ValueError(
        f'{message(self.folder / str(step), faults)}\nPut a good copy back, or '
        'run again what wrote it: a stage goes on from the newest checkpoint '
        'that is good.'
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

  def _seal(self, step: int) -> None:
    """Writes this process's hashes, and deletes what is not kept."""
    self._writer.wait_until_finished()
    path, process = self.folder / str(step), jax.process_index()
    self._good.discard(step)
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
      for step in steps(self.folder)
      if step <= newest and manifest.finished(self.folder / str(step))
    ]
    keep = {str(step) for step in [*finished[-self._keep :], newest]}
    # Names that are longer come first: 4.deleted makes room for 4.
    for path in sorted(self.folder.iterdir(), reverse=True):
      if path.name not in keep and path.name.partition('.')[0].isdigit():
        if path.name.isdigit():  # no step may be seen with half its files
          path = path.rename(f'{path}.deleted')
        shutil.rmtree(path)


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


def steps(folder: pathlib.Path) -> list[int]:
  """Steps that orbax has given their names, newest last."""
  if not folder.is_dir():
    return []
  names = [path.name for path in folder.iterdir()]
  return sorted(int(name) for name in names if name.isdigit())


def message(path: pathlib.Path, faults: Sequence[str]) -> str:
  """What is wrong with a checkpoint, a line for each fault."""
  return f'checkpoint {path} is not good:' + ''.join(f'\n  {f}' for f in faults)
