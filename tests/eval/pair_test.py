"""Two processes that hold different questions answer as one does.

The router gives plans to questions of both; were groups formed by each process
of its own, programs would not match, and the run would hang or answer wrongly.
"""

import collections
import dataclasses
import os
import pathlib
import socket
import subprocess
import sys
import types

import jax

from tests.eval import run_test
from visor_jax.eval import run
from visor_jax.runtime import files as files_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans

ROOT = pathlib.Path(__file__).parents[2]
COUNT, BATCH, CHUNK = 20, 4, 11  # chunks that batches do not fill


def ask(mesh, folder):
  """Lets the router choose between two plans; the rows."""
  under_test = dataclasses.replace(
    run_test.make(mesh),
    viable=run_test.VIABLE[::2],
    confidence=budget.Mix(0.02, 1.0, 0.2),
  )  # by scores, and some by its hash
  return run.answers(
    under_test,
    'test',
    COUNT,
    plans.Selection('router'),
    folder,
    types.SimpleNamespace(batch=BATCH, chunk=CHUNK),
    'exact',
  )


def test_two_processes_answer_as_one(tmp_path):
  with socket.create_server(('127.0.0.1', 0)) as free:
    port = free.getsockname()[1]
  running = [
    subprocess.Popen(
      [sys.executable, '-m', 'tests.eval.pair', str(tmp_path)],
      cwd=ROOT,
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      env=os.environ
      | dict(
        JAX_COORDINATOR_ADDRESS=f'127.0.0.1:{port}',
        JAX_PLATFORMS='cpu',
        JAX_NUM_CPU_DEVICES='1',
        JAX_NUM_PROCESSES='2',
        JAX_PROCESS_ID=str(index),
      ),
    )
    for index in range(2)
  ]
  want = ask(mesh_lib.make(devices=jax.devices()[:2]), tmp_path / 'alone')
  for process in running:
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out
  files = [tmp_path / 'router' / f for f in ('0-11.jsonl', '11-20.jsonl')]
  assert sum(map(files_lib.read_jsonl, files), []) == want
  # Both processes have questions of both plans, but not equally many.
  place = lambda r: r['index'] % CHUNK % BATCH // 2
  chosen = collections.Counter((place(r), tuple(r['plan'])) for r in want)
  assert len(chosen) == 4 and len(set(chosen.values())) > 1
  assert len({r['answer'] for r in want}) > 3
