"""What runs leave behind."""

import jax
import numpy as np
import orbax.checkpoint as ocp

from visor_jax import log


def final(workdir, stage, step=12):
  """{path: array} of a checkpoint, parameters and optimizer."""
  folder = workdir / stage / 'checkpoints' / str(step)
  with ocp.CheckpointManager(
      folder.parent, item_names=('params', 'opt')) as manager:
    found = manager.restore(step, args=ocp.args.Composite(
        params=ocp.args.StandardRestore(), opt=ocp.args.StandardRestore()))
  flat = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(dict(found)):
    flat[jax.tree_util.keystr(path)] = np.asarray(leaf)
  return flat


def results(workdir):
  """Rows of results.jsonl but for the times, which are never the same."""
  return [row | dict(measured=None)
          for row in log.read_jsonl(workdir / 'results.jsonl')]


def same(a, b):
  """Bitwise."""
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)
