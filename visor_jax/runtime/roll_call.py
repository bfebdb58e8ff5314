"""The roll call: who is here, and do all run the same?

Before jax connects its processes, process 0 listens where their coordinator
will be and hears from every one who it is and what it runs. It answers all
alike: go, or what is wrong. Jax itself would only wait and abort, and tell
neither who is missing nor that a host runs yesterday's code.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import json
import socket
import time

_READ_TIMEOUT = 5  # seconds for a line that is on its way


def roll_call(
  address: str,
  count: int,
  index: int,
  facts: Mapping[str, object],
  timeout: float,
) -> dict[int, str]:
  """Returns when all are here.

  Args:
    address: 'host:port' of process 0.
    count: number of processes.
    index: number of this one, from 0.
    facts: {what: value} that must be the same everywhere; JSON.
    timeout: seconds to wait for the others.

  Returns:
    {process: its host}.

  Raises:
    TimeoutError: naming those that did not come.
    ValueError: naming those that differ, and in what.
  """
  deadline = time.monotonic() + timeout
  report = {
    'index': index,
    'host': socket.gethostname(),
    'count': count,
    'facts': json.loads(json.dumps(dict(facts))),
  }
  host, _, port = address.rpartition(':')
  if index:
    answer = _ask((host, int(port)), report, deadline)
  else:
    bind = host if is_loopback(address) else ''
    try:
      server = socket.create_server((bind, int(port)), backlog=count)
    except OSError as e:
      raise ValueError(
        f'process 0 cannot listen on port {port}: {e}; set '
        'another (JAX_COORDINATOR_PORT in a cluster)'
      ) from None
    with server:
      answer = _answer_all(server, report, deadline)
  if 'missing' in answer:
    raise TimeoutError(answer['missing'])
  if 'error' in answer:
    raise ValueError(answer['error'])
  return {int(i): host for i, host in answer['hosts'].items()}


def is_loopback(address: str) -> bool:
  """Whether all processes must be on this machine."""
  return address.rpartition(':')[0] in ('127.0.0.1', 'localhost')


def _ask(address: tuple[str, int], report: dict, deadline: float) -> dict:
  """Tells process 0 who is here; returns its answer."""
  while (left := deadline - time.monotonic()) > 0:
    with contextlib.suppress(OSError, ValueError):
      with socket.create_connection(address, min(left, 10)) as connection:
        _send(connection, report)
        # Process 0 says when it gives up.
        connection.settimeout(left + _READ_TIMEOUT)
        return _read(connection)
    time.sleep(0.2)
  raise TimeoutError(
    f'process {report["index"]} of {report["count"]} on {report["host"]}: '
    f'process 0 does not answer at {address[0]}:{address[1]}; does it run, and '
    'is the port open?'
  )


def _answer_all(server: socket.socket, report: dict, deadline: float) -> dict:
  """Waits for the others; returns the answer that it gives to all alike."""
  count, reports = report['count'], {0: report}
  errors: list[str] = []
  with contextlib.ExitStack() as stack:
    connections = []
    while len(reports) < count and not errors:
      left = deadline - time.monotonic()
      if left <= 0:
        break
      server.settimeout(left)
      try:
        connection, _ = server.accept()
        connection.settimeout(_READ_TIMEOUT)
        other = _read(connection)
        index, host = other['index'], other['host']
      except (OSError, ValueError, KeyError, TypeError):
        continue  # nobody, or a stranger
      connections.append(stack.enter_context(connection))
      if index in reports:
        errors.append(
          f'process {index} came twice, from {reports[index]["host"]} '
          f'and from {host}; does an old one still run?'
        )
      errors += _differences(other, report)
      reports[index] = other
    answer = _answer(reports, errors, count)
    for connection in connections:
      with contextlib.suppress(OSError):
        _send(connection, answer)
  return answer


def _answer(reports: dict[int, dict], errors: list[str], count: int) -> dict:
  """Hosts by process if all is well, else what is wrong or who is missing."""
  hosts = {i: report['host'] for i, report in sorted(reports.items())}
  missing = [str(i) for i in range(count) if i not in reports]
  if errors:
    return {'error': '\n'.join(errors)}
  if missing:
    return {
      'missing': (
        f'of {count} processes these did not come: '
        f'{", ".join(missing)}; those that came are on '
        + ', '.join(dict.fromkeys(hosts.values()))
      )
    }
  return {'hosts': hosts}


def _differences(other: dict, primary: dict) -> Iterator[str]:
  """In words, what another process has other than process 0."""
  who = f'process {other["index"]} on {other["host"]}'
  if other['count'] != primary['count']:
    yield (
      f'{who} is one of {other["count"]}, process 0 on {primary["host"]} one '
      f'of {primary["count"]}'
    )
  theirs, ours = other['facts'], primary['facts']
  differences = [
    f'{k} is {theirs.get(k)!r} instead of {ours.get(k)!r}'
    for k in sorted(theirs.keys() | ours.keys())
    if theirs.get(k) != ours.get(k)
  ]
  if differences:
    yield (
      f'{who} differs from process 0 on {primary["host"]}: '
      + '; '.join(differences)
    )


def _send(connection: socket.socket, value: dict) -> None:
  connection.sendall(json.dumps(value).encode() + b'\n')


def _read(connection: socket.socket) -> dict:
  return json.loads(connection.makefile().readline())
