"""SIGTERM and Ctrl-C are remembered from the first moment on."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from visor_jax.runtime import preempt

ROOT = pathlib.Path(__file__).parents[2]
LEAVE = f'sys.exit({preempt.EXIT_CODE} if preempt.requested() else 1)'
# A minute or so of XLA, in which no line of Python runs.
COMPILE = """
import jax
def slow(x):
  for i in range(3000):
    x = jax.numpy.sort(x @ x + i)
  return x
lowered = jax.jit(slow).lower(jax.numpy.ones((4, 4)))
print('compiling', flush=True)
lowered.compile()
"""


@pytest.fixture
def start():
  """A process with the handler; returns it when it has printed a line."""

  def run(*lines):
    process = subprocess.Popen(
      [
        sys.executable,
        '-c',
        'import sys, time\nfrom visor_jax.runtime import preempt\n'
        'preempt.install_handler()\n' + '\n'.join(lines),
      ],
      cwd=ROOT,
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
    )
    assert process.stdout.readline()
    return process

  return run


def ends(process):
  out, _ = process.communicate(timeout=240)
  return process.returncode, out


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_import_of_jax_counts(start, how):
  process = start(
    'print(1, flush=True); time.sleep(1); assert "jax" not in sys.modules',
    f'import jax; {LEAVE}',
  )
  process.send_signal(how)
  code, out = ends(process)
  assert code == preempt.EXIT_CODE and f'{how.name}: saving' in out
  assert 'Traceback' not in out


@pytest.mark.parametrize('seconds', [0.1, 0.3, 0.6])
def test_a_signal_while_jax_is_imported_counts(start, seconds):
  process = start(f'print(1, flush=True); import jax; time.sleep(1); {LEAVE}')
  time.sleep(seconds)
  process.send_signal(signal.SIGINT)
  code, out = ends(process)
  assert code == preempt.EXIT_CODE and 'Traceback' not in out, out


def test_the_second_ctrl_c_kills(start):
  """And a terminal whose wrapper passes it on, too, sends one, not two."""
  process = start('print(1, flush=True); time.sleep(100)')
  process.send_signal(signal.SIGINT)
  process.send_signal(signal.SIGINT)
  time.sleep(1)
  assert process.poll() is None
  process.send_signal(signal.SIGINT)
  code, out = ends(process)
  assert code == 128 + signal.SIGINT and 'Traceback' not in out


def test_a_second_sigterm_lets_it_save(start):
  """SLURM sends it again half a minute before the end."""
  process = start(f'print(1, flush=True); time.sleep(2); {LEAVE}')
  for _ in range(3):
    process.terminate()
    time.sleep(0.4)
  assert ends(process)[0] == preempt.EXIT_CODE


def test_ctrl_c_while_compiling_leaves_in_order(start):
  process = start(COMPILE.replace('3000', '100'), LEAVE)
  time.sleep(0.2)
  process.send_signal(signal.SIGINT)
  code, out = ends(process)
  assert code == preempt.EXIT_CODE and 'Traceback' not in out, out


def test_the_second_ctrl_c_kills_while_compiling(start):
  process = start(COMPILE)
  time.sleep(0.2)
  for _ in range(2):
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
  sent = time.monotonic()
  assert ends(process)[0] == 128 + signal.SIGINT
  assert time.monotonic() - sent < 10
