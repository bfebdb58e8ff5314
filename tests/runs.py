"""Runs: how one is stopped, and what it leaves behind."""

import pathlib
import signal

import jax
import numpy as np
import orbax.checkpoint as ocp

from visor_jax.runtime import files
from visor_jax.runtime import preempt


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


def stop_at(run, words, number):
  """Sends a signal as soon as a line with these words comes."""
  for line in run.stdout:
    if words in line:
      run.send_signal(number)
      break
  else:
    raise AssertionError(f'"{words}" never came')
  out, _ = run.communicate()
  asked_to_leave = number != signal.SIGKILL
  assert run.returncode == (preempt.EXIT_CODE if asked_to_leave else -number), (
    out
  )
  words = f'{signal.Signals(number).name}; the same command goes on'
  assert asked_to_leave == (words in out) and 'Traceback' not in out


def processes(workdir):
  """Ids of those that run on a workdir, the supervisor not among them."""
  steps = []
  for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
    try:
      words = path.read_bytes().decode().split('\0')
    except OSError:
      continue
    if f'--workdir={workdir}' in words and 'visor_jax.main' in words:
      steps.append(int(path.parent.name))
  return sorted(steps)
