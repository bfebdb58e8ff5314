"""What runs leave behind."""

import jax
import numpy as np
import orbax.checkpoint as ocp

from visor_jax.runtime import files


def final(workdir, stage, step=12):
  """{path: array} of a checkpoint, parameters and optimizer.

  As numpy arrays: those who wrote it may have had other devices.
  """
  folder, flat = workdir / stage / 'checkpoints' / str(step), {}
  with ocp.PyTreeCheckpointer() as reader:
    for item in ('params', 'opt'):
      plain = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
        reader.metadata(folder / item).item_metadata.tree,
      )
      tree = reader.restore(folder / item, restore_args=plain)
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        flat[f"['{item}']{jax.tree_util.keystr(path)}"] = np.asarray(leaf)
  return flat


def results(workdir):
  """Rows of results.jsonl but for the times, which are never the same."""
  return [
    row | dict(measured=None)
    for row in files.read_jsonl(workdir / 'results.jsonl')
  ]


def same(a, b):
  """Bitwise."""
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)
