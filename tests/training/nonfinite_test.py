"""Steps that were skipped are counted, written and, too many, the end."""

import pytest

from visor_jax.runtime import files
from visor_jax.training import nonfinite


def skips(path, *flags, start=0):
  with nonfinite.NonFiniteSteps(
    path, start, batch=2, record_ids=lambda row: [f'r{row}'], patience=3
  ) as skipped:
    for step, flag in enumerate(flags, start + 1):
      skipped.add(step, flag)
      skipped.check()
    return skipped.take()


def test_steps_that_were_skipped_are_counted_and_written(tmp_path):
  """With their rows, and the records behind each."""
  path = tmp_path / 'nonfinite.jsonl'
  assert skips(path, 0, 1, 1, 0, 1) == 3
  assert files.read_jsonl(path) == [
    {'step': 2, 'rows': [2, 4], 'records': [['r2'], ['r3']]},
    {'step': 3, 'rows': [4, 6], 'records': [['r4'], ['r5']]},
    {'step': 5, 'rows': [8, 10], 'records': [['r8'], ['r9']]},
  ]
  assert skips(path, 1, 0, start=2) == 1  # a resume
  assert [r['step'] for r in files.read_jsonl(path)] == [2, 3]


def test_a_streak_of_skipped_steps_stops_the_run(tmp_path):
  skips(tmp_path / 'x', 1, 1, 0, 1, 1)
  with pytest.raises(
    ValueError, match='up to step 5.*optim.max_nonfinite_steps'
  ):
    skips(tmp_path / 'x', 1, 0, 1, 1, 1)
  assert [r['step'] for r in files.read_jsonl(tmp_path / 'x')] == [1, 3, 4, 5]
