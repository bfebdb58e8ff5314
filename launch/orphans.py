"""What a launcher started goes with it, however the launcher ends."""

import contextlib
import os
import signal
import subprocess

# It reads from a pipe whose other end only the launcher holds: the kernel ends
# what it reads when the launcher is gone, also by SIGKILL.
_WATCH = 'read -r _; kill -s KILL -- "-$0"'


class Watch:
  """Kills a process, and all that it started, when this one is gone.

  Args:
    process: the leader of a session of its own.
  """

  def __init__(self, process: subprocess.Popen):
    end, self._pipe = os.pipe()  # not inherited by what is started later
    self._watcher = subprocess.Popen(
      ['sh', '-c', _WATCH, str(process.pid)],
      stdin=end,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      start_new_session=True,
    )
    os.close(end)

  def close(self) -> None:
    """Ends the watch, not the process."""
    self._watcher.kill()
    self._watcher.wait()
    os.close(self._pipe)


def kill(process: subprocess.Popen) -> None:
  """Kills the leader of a session with all that it started."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)
