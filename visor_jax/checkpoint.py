"""Saving and restoring: the only room that knows orbax.

A stage saves into a folder of its own: {step}/params, {step}/opt. A save that
did not finish is never seen: orbax writes beside the place and renames.
"""

import pathlib

import jax
import orbax.checkpoint as ocp

# Bytes of a file; orbax holds a file's bytes until it is full, at 2 GB.
_FILE = 64 * 2**20


class Checkpoints:
  """The checkpoints of one stage, newest last.

  Args:
    folder: where they are.
    keep: how many of the newest to keep.
  """

  def __init__(self, folder, keep: int = 2):
    self.folder = pathlib.Path(folder).absolute()
    self._manager = ocp.CheckpointManager(
        self.folder, item_names=('params', 'opt'),
        options=ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True, create=True))

  def __enter__(self):
    return self

  def __exit__(self, *exc):
    self._manager.close()

  def latest(self) -> int | None:
    """The newest finished step, or None."""
    return self._manager.latest_step()

  def save(self, step: int, params, opt=None) -> None:
    """Starts saving; the arrays may be donated as soon as it returns.

    Args:
      step: which.
      params: tree of arrays.
      opt: likewise; None for parameters alone, which takes little memory.
    """
    if opt is None:
      items = {'params': ocp.args.PyTreeSave(
          params, ocdbt_target_data_file_size=_FILE)}
    else:
      items = {'params': ocp.args.StandardSave(params),
               'opt': ocp.args.StandardSave(opt)}
    self._manager.save(step, args=ocp.args.Composite(**items))

  def wait(self) -> None:
    """Returns when the last save is on disk; raises if it failed."""
    self._manager.wait_until_finished()
    self._manager.check_for_errors()

  def shapes(self, step: int):
    """Shapes and dtypes of a step's parameters, as a tree."""
    return ocp.PyTreeCheckpointHandler().metadata(
        self.folder / str(step) / 'params').tree

  def restore(self, step: int, params, opt=None):
    """Reads a step.

    Args:
      step: which.
      params: tree of jax.ShapeDtypeStruct with target shardings.
      opt: likewise, or None to leave the optimizer's state on disk.

    Returns:
      (params, opt).

    Raises:
      ValueError: the checkpoint does not fit, or cannot be read.
    """
    items = {'params': params} | ({} if opt is None else {'opt': opt})
    try:
      found = self._manager.restore(step, args=ocp.args.Composite(
          **{k: ocp.args.StandardRestore(v) for k, v in items.items()}))
    except Exception as e:  # orbax raises whatever its storage raises
      raise ValueError(
          f'checkpoint {self.folder / str(step)} cannot be restored: {e}\n'
          'Delete that folder to go on from the one before it, if any.') from e
    return found['params'], found.get('opt')


def abstract(tree, shardings):
  """Shapes and dtypes of a tree with their target shardings."""
  return jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
      tree, shardings)
