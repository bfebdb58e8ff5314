"""Process 0's side of the roll call: who connects, and who of them is whom.

It listens to all at once and waits once for all. Who is no process of this job
is said once, and costs a bounded number of bytes and seconds.
"""

import dataclasses
import selectors
import socket
import time

from visor_jax.runtime import console
from visor_jax.runtime import peers

READ_TIMEOUT = 5  # seconds for a line that is on its way
_PENDING = 64  # connections that have not said yet who they are, at most


@dataclasses.dataclass
class _Pending:
  """A connection that has not said yet who it is.

  Attributes:
    until: time.monotonic() to hear it until.
    line: what it has sent.
  """

  until: float
  line: bytearray = dataclasses.field(default_factory=bytearray)


class Gathering:
  """Waits for the other processes.

  Attributes:
    reports: {process: what it says of itself}, process 0 among them.
    twice: lines about processes that came more than once.

  Args:
    server: where they connect.
    report: of process 0.
  """

  def __init__(self, server: socket.socket, report: peers.Report):
    self.reports = {0: report}
    self.twice: list[str] = []
    self._server = server
    self._report = report
    self._pending: dict[socket.socket, _Pending] = {}
    self._members: dict[int, socket.socket] = {}  # by process
    self._named: set[str] = set()  # strangers, by address
    self._selector = selectors.DefaultSelector()
    server.setblocking(False)
    self._selector.register(server, selectors.EVENT_READ, server)

  def wait(self, deadline: float) -> None:
    """Returns when all are here, or at `deadline` (time.monotonic())."""
    while len(self.reports) < self._report.count:
      now = time.monotonic()
      if now >= deadline:
        return
      until = min([deadline, *(p.until for p in self._pending.values())])
      for key, _ in self._selector.select(max(until - now, 0)):
        if key.data is self._server:
          self._accept()
        else:
          self._hear(key.data)
      now = time.monotonic()
      for connection in [c for c, p in self._pending.items() if p.until <= now]:
        self._dismiss(connection, f'says nothing for {READ_TIMEOUT} seconds')

  def tell(self, line: bytes) -> None:
    """Sends a line to all that are here."""
    peers.send_all(
      self._members.values(), line, time.monotonic() + READ_TIMEOUT
    )

  def close(self) -> None:
    """Hangs up."""
    self._selector.close()
    for connection in (*self._pending, *self._members.values()):
      connection.close()

  def _accept(self) -> None:
    if len(self._pending) >= _PENDING:
      oldest = min(self._pending, key=lambda c: self._pending[c].until)
      self._dismiss(oldest, 'is one of too many that say nothing')
    try:
      connection, _ = self._server.accept()
    except OSError:  # gone again, or no more files may be open
      time.sleep(0.01)
      return
    connection.setblocking(False)
    self._selector.register(connection, selectors.EVENT_READ, connection)
    self._pending[connection] = _Pending(time.monotonic() + READ_TIMEOUT)

  def _hear(self, connection: socket.socket) -> None:
    """Takes what a connection has sent, which may be its end."""
    if connection not in self._pending and (
      connection not in self._members.values()
    ):
      return  # hung up on by an event of the same moment
    try:
      part = connection.recv(2**16)
    except BlockingIOError:
      return
    except OSError:
      part = b''
    pending = self._pending.get(connection)
    if pending is None:
      if not part:
        self._part(connection)
    elif not part:
      self._dismiss(connection, 'hangs up')
    else:
      pending.line += part
      if b'\n' in part:
        self._admit(connection, pending)
      elif len(pending.line) > peers.LINE:
        self._dismiss(connection, f'sends more than {peers.LINE} bytes')

  def _admit(self, connection: socket.socket, pending: _Pending) -> None:
    """Takes who has said a line for the process that it says it is."""
    try:
      report = peers.parse_report(bytes(pending.line).split(b'\n')[0])
    except ValueError as e:
      self._dismiss(connection, f'sends what cannot be read: {e}')
      return
    index, host = report.index, report.host
    if report.job != self._report.job:
      self._dismiss(connection, f'is of another job, on {host}')
      return
    if not 0 < index < self._report.count:
      self._dismiss(
        connection,
        f'calls itself process {index} of {report.count}, on {host}',
      )
      return
    known = self.reports.get(index)
    if known and not (known.instance and known.instance == report.instance):
      line = (
        f'process {index} came twice, from {known.host} and from {host}; '
        'does an old one still run?'
      )
      self.twice.append(line)
      console.log(f'roll call: {line} The first one counts')
      answer = {'job': report.job, 'twice': line}
      peers.send_all([connection], peers.to_line(answer), time.monotonic() + 1)
      self._hang_up(connection)
      return
    if known:  # its first connection broke
      self._part(self._members[index])
    self.reports[index] = report
    self._members[index] = connection
    del self._pending[connection]

  def _part(self, connection: socket.socket) -> None:
    """Lets a process go that hung up before all were here."""
    (index,) = (i for i, c in self._members.items() if c is connection)
    del self._members[index], self.reports[index]
    self._hang_up(connection)

  def _dismiss(self, connection: socket.socket, why: str) -> None:
    """Hangs up on a stranger; says so once for each address."""
    try:
      address = connection.getpeername()[0]
    except OSError:
      address = 'an address that is gone'
    if address not in self._named:
      self._named.add(address)
      console.log(
        f'roll call: a stranger at {address} {why}; it is not listened to'
      )
    self._hang_up(connection)

  def _hang_up(self, connection: socket.socket) -> None:
    self._pending.pop(connection, None)
    self._selector.unregister(connection)
    connection.close()
