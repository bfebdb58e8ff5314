"""Processes that run as one share, wait in bounds, and stop together."""

import json
import os
import pathlib
import socket
import subprocess
import sys


def test_two_processes_share_wait_and_refuse(tmp_path):
  """What only real processes can show; see two.py."""
  script = pathlib.Path(__file__).with_name('two.py')
  with socket.create_server(('127.0.0.1', 0)) as free:
    port = free.getsockname()[1]
  running = [
    subprocess.Popen(
      [sys.executable, script, tmp_path],
      text=True,
      stdout=subprocess.PIPE,
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
  first, second = (
    json.loads(p.communicate(timeout=120)[0].splitlines()[-1]) for p in running
  )
  assert first.pop('first') and not second.pop('first')
  assert '"lunch": after 1 seconds without process 1 on' in first.pop('late')
  assert 'the others had gone' in second.pop('late')
  assert first.pop('lost') == '"at 0": process 1 on {} is at "at 1"'.format(
    socket.gethostname()
  )
  assert '"at 1": process 0 on' in second.pop('lost')
  assert first == second
  assert first.pop('asked before leaving') < 200  # told to one, both leave
  assert first['shared'] == ['text 0', 'text 1']
  assert first['gathered'] == [[], [{'index': 1, 'score': 0.1}] * 50]
  assert "invalid literal for int() with base 10: '7x'" in first['agreed']
  assert 'is {"a": "1"}, that of host' in first['data']
  assert first['claimed'] == 'in 0: a text'
  assert 'is not shared: host' in first['apart']
  assert 'is in use by process' in first['busy']
