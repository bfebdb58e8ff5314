"""Lines of JSON between processes, one of which may be anybody.

Whatever a peer sends, or does not, costs a bounded number of bytes and seconds.
"""

from collections.abc import Iterable
import dataclasses
import json
import selectors
import socket
import time
from typing import Any

LINE = 2**22  # bytes of a line, at most


@dataclasses.dataclass(frozen=True)
class Report:
  """What a process says of itself at the roll call.

  Attributes:
    index: number of the process, from 0.
    count: how many it believes there are.
    host: name of its host.
    facts: {what: value} that must be the same everywhere; JSON.
    job: a word that only processes of one start of a job share; '' without.
    instance: a word that no other process has, of any job.
  """

  index: int
  count: int
  host: str
  facts: dict[str, Any]
  job: str = ''
  instance: str = ''


def parse_report(line: bytes) -> Report:
  """Reads a report; keys that it does not know are left alone.

  Raises:
    ValueError: it is none.
  """
  value = parse(line)
  names = (field.name for field in dataclasses.fields(Report))
  try:
    report = Report(**{name: value[name] for name in names if name in value})
  except TypeError:
    raise ValueError('no report of a process') from None
  if not (
    type(report.index) is type(report.count) is int
    and isinstance(report.facts, dict)
    and all(map(_is_name, (report.host, *report.facts)))
    and isinstance(report.job, str)
    and isinstance(report.instance, str)
  ):
    raise ValueError('no report of a process')
  return report


def parse(line: bytes) -> dict[str, Any]:
  """Reads a line.

  Raises:
    ValueError: it is no object of JSON.
  """
  try:
    value = json.loads(line)
  except RecursionError:
    raise ValueError('nested too deeply') from None
  if not isinstance(value, dict):
    raise ValueError('no object of JSON')
  return value


def to_line(value: dict[str, Any]) -> bytes:
  """What is sent; the inverse of `parse`."""
  return json.dumps(value).encode() + b'\n'


def read_line(connection: socket.socket, deadline: float) -> bytes:
  """Waits for the next line.

  Args:
    connection: to a peer that sends no more than this line.
    deadline: time.monotonic() to wait until.

  Raises:
    OSError: it did not come in time, or the peer is gone.
    ValueError: it is too long.
  """
  line = bytearray()
  while not line.endswith(b'\n'):
    connection.settimeout(max(deadline - time.monotonic(), 1e-3))
    part = connection.recv(2**16)
    if not part:
      raise ConnectionError('the peer is gone')
    line += part
    if len(line) > LINE:
      raise ValueError(f'more than {LINE} bytes without an end')
  return bytes(line)


def send_all(
  connections: Iterable[socket.socket], line: bytes, deadline: float
) -> None:
  """Sends a line to all at once; those that do not take it in time go without.

  Args:
    connections: to the peers.
    line: of `to_line`.
    deadline: time.monotonic() to wait until.
  """
  left = {connection: memoryview(line) for connection in connections}
  with selectors.DefaultSelector() as selector:
    for connection in left:
      connection.setblocking(False)
      selector.register(connection, selectors.EVENT_WRITE, connection)
    while left and (seconds := deadline - time.monotonic()) > 0:
      for key, _ in selector.select(seconds):
        connection, rest = key.data, left[key.data]
        try:
          left[connection] = rest[connection.send(rest) :]
        except OSError:  # it is gone
          left[connection] = rest[:0]
        if not left[connection]:
          selector.unregister(connection)
          del left[connection]


def _is_name(value: object) -> bool:
  """Whether it can be printed on a line."""
  return (
    isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable()
  )
