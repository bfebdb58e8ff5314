"""Saving and restoring: the only room that knows orbax.

A stage saves into a folder of its own: {step}/params, {step}/opt. A checkpoint
counts from the moment on that each process has left the hashes of the files
that it wrote, see manifest.py; older ones are deleted after that, never before.

  python -m visor_jax.checkpoint verify DIR
"""

import concurrent.futures
import pathlib
import shutil

import jax
import orbax.checkpoint as ocp

from visor_jax.checkpoint import manifest
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import files

# Bytes of a file; orbax holds a file's bytes until it is full, else at 2 GB.
_FILE = 64 * 2**20


class Checkpoints:
  """The checkpoints of one stage.

  Args:
    folder: where they are.
    keep: how many of the newest to keep.
  """

  def __init__(self, folder, keep: int = 2):
    self.folder = pathlib.Path(folder).absolute()
    self._keep = keep
    self._writer = ocp.AsyncCheckpointer(
      ocp.CompositeCheckpointHandler('params', 'opt')
    )
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._sealed = self._pool.submit(lambda: None)  # the last save is done
    self._good = set()  # found to be good by this process

  def __enter__(self):
    return self

  def __exit__(self, *exc):
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
    every = cluster.allgather_json(steps(self.folder))[
      0
    ]  # all must go the same way
    for step in reversed(every):
      faults = self._faults(step)
      if not faults:
        return step
      unfinished += faults[0].startswith(manifest.UNFINISHED)
      console.log(f'passed over, {message(self.folder / str(step), faults)}')
    if len(every) > 1 or len(every) > unfinished:
      raise ValueError(
        f'no checkpoint in {self.folder} is good, and to start afresh would '
        'lose what they have been; put a good copy back, or delete that '
        'folder to start this stage afresh'
      )
    return 0

  def save(self, step: int, params, opt=None) -> None:
    """Starts saving; the arrays may be donated as soon as it returns.

    Args:
      step: which.
      params: tree of arrays.
      opt: likewise; None for parameters alone.

    Raises:
      Exception: of orbax, when the save before this one failed.
    """
    self.wait()
    items = {'params': params} | ({} if opt is None else {'opt': opt})
    # A checkpoint that was passed over is replaced.
    self._writer.save(
      self.folder / str(step),
      ocp.args.Composite(
        **{
          name: ocp.args.PyTreeSave(tree, ocdbt_target_data_file_size=_FILE)
          for name, tree in items.items()
        }
      ),
      force=True,
    )
    self._sealed = self._pool.submit(self._seal, step)

  def wait(self) -> None:
    """Returns when the last save is on disk; raises if it failed."""
    self._sealed.result()

  def shapes(self, step: int):
    """Shapes and dtypes of a step's parameters, as a tree."""
    return (
      ocp.PyTreeCheckpointHandler()
      .metadata(self.folder / str(step) / 'params')
      .tree
    )

  def restore(self, step: int, params, opt=None):
    """Reads a step, after all its files are found to be what was written.

    Args:
      step: which.
      params: tree of jax.ShapeDtypeStruct with target shardings.
      opt: likewise, or None to leave the optimizer's state on disk.

    Returns:
      (params, opt).

    Raises:
      ValueError: the checkpoint is bad, or does not fit, or cannot be read.
    """
    path = self.folder / str(step)
    faults = self._faults(step)
    if faults:
      raise ValueError(
        f'{message(path, faults)}\nPut a good copy back, or run again what '
        'wrote it: a stage goes on from the newest checkpoint that is good.'
      )
    items = {'params': params} | ({} if opt is None else {'opt': opt})
    try:
      with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        found = reader.restore(
          path,
          ocp.args.Composite(
            **{k: ocp.args.StandardRestore(v) for k, v in items.items()}
          ),
        )
    except Exception as e:  # orbax raises whatever its storage raises
      raise ValueError(f'checkpoint {path} cannot be restored: {e}') from e
    return found['params'], found.get('opt')

  def _faults(self, step):
    """As manifest.faults; processes share the work, and know the same."""
    if step in self._good:
      return []
    mine = manifest.faults(
      self.folder / str(step), jax.process_index(), jax.process_count()
    )
    faults = sorted(
      {f for found in cluster.allgather_json(mine) for f in found}
    )
    if not faults:
      self._good.add(step)
    return faults

  def _seal(self, step):
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

  def _delete(self, newest):
    """Deletes all but `keep` finished steps, the newest among them.

    Others may not have left their hashes of it yet; then one more is kept. What
    is newer was passed over by `resume`, and what is no step was left by orbax
    or by a run that was killed right here.
    """
    done = [
      s
      for s in steps(self.folder)
      if s <= newest and manifest.finished(self.folder / str(s))
    ]
    keep = {str(s) for s in [*done[-self._keep :], newest]}
    # Names that are longer come first: 4.deleted makes room for 4.
    for path in sorted(self.folder.iterdir(), reverse=True):
      if path.name not in keep and path.name.partition('.')[0].isdigit():
        if path.name.isdigit():  # no step may be seen with half its files
          path = path.rename(f'{path}.deleted')
        shutil.rmtree(path)


def abstract(tree, shardings):
  """Shapes and dtypes of a tree with their target shardings."""
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    tree,
    shardings,
  )


def steps(folder) -> list[int]:
  """Steps that orbax has given their names, newest last."""
  return (
    sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())
    if (folder.is_dir())
    else []
  )


def message(path, faults):
  return f'checkpoint {path} is not good:' + ''.join(f'\n  {f}' for f in faults)
