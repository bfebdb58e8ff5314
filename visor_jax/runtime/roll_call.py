"""The roll call: who is here, and do all run the same?

Before jax connects its processes, process 0 listens where their coordinator
will be and hears from every one who it is and what it runs. It answers all
alike: go, or what is wrong. Jax itself would only wait and abort, and tell
neither who is missing nor that a host runs yesterday's code.

Anybody may connect: what is no process of this job is not listened to.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import json
import secrets
import socket
import time
from typing import Any

from visor_jax.runtime import errors
from visor_jax.runtime import gathering
from visor_jax.runtime import peers

_BIND_TIMEOUT = 10  # seconds for a port to be left by the last job
_SHOWN = 20  # differences of a process that are named
_WIDTH = 200  # characters of a value


def roll_call(
  address: str,
  count: int,
  index: int,
  facts: Mapping[str, object],
  timeout: float,
  job: str = '',
) -> dict[int, str]:
  """Returns when all are here.

  Args:
    address: 'host:port' of process 0.
    count: number of processes.
    index: number of this one, from 0.
    facts: {what: value} that must be the same everywhere; JSON.
    timeout: seconds to wait for the others.
    job: a word that only processes of this start of the job share; who comes
      with another is a stranger.

  Returns:
    {process: its host}.

  Raises:
    TimeoutError: naming those that did not come.
    Passing: this process has come before, or the port is in use.
    Refusal: naming those that differ, and in what.
  """
  deadline = time.monotonic() + timeout
  report = peers.Report(
    index=index,
    count=count,
    host=socket.gethostname(),
    facts=json.loads(json.dumps(dict(facts))),
    job=job,
    instance=secrets.token_hex(8),
  )
  host, _, port = address.rpartition(':')
  if index:
    answer = _ask((host, int(port)), report, deadline)
  else:
    bind = host if is_loopback(address) else ''
    with _listen(bind, int(port), count, deadline) as server:
      answer = _answer_all(server, report, deadline)
  if 'twice' in answer:
    raise errors.Passing(answer['twice'])
  if 'missing' in answer:
    raise TimeoutError(answer['missing'])
  if 'error' in answer:
    raise errors.Refusal(answer['error'])
  return {int(i): host for i, host in answer['hosts'].items()}


def is_loopback(address: str) -> bool:
  """Whether all processes must be on this machine."""
  return address.rpartition(':')[0] in ('127.0.0.1', 'localhost')


def _listen(host: str, port: int, count: int, deadline: float) -> socket.socket:
  """The socket where the others come; what died may hold it for a moment."""
  until = min(deadline, time.monotonic() + _BIND_TIMEOUT)
  while True:
    try:
      return socket.create_server((host, port), backlog=count + 128)
    except OSError as e:
      if time.monotonic() >= until:
        raise errors.Passing(
          f'process 0 cannot listen on port {port}: {e}; set '
          'another (JAX_COORDINATOR_PORT in a cluster)'
        ) from None
    time.sleep(0.5)


def _ask(
  address: tuple[str, int], report: peers.Report, deadline: float
) -> dict[str, Any]:
  """Tells process 0 who is here; returns its answer."""
  heard = 'does not answer'
  line = peers.to_line(dataclasses.asdict(report))
  while (left := deadline - time.monotonic()) > 0:
    with contextlib.suppress(OSError, ValueError):
      with socket.create_connection(address, min(left, 10)) as connection:
        connection.sendall(line)
        heard = 'is there, but does not say that all are here'
        # Process 0 says when it gives up.
        until = deadline + gathering.READ_TIMEOUT
        answer = peers.parse(peers.read_line(connection, until))
        if _is_answer(answer, report):
          return answer
        heard = 'is not one of this job'
    time.sleep(0.2)
  raise TimeoutError(
    f'process {report.index} of {report.count} on {report.host}: '
    f'process 0 at {address[0]}:{address[1]} {heard}; does it run, and '
    'is the port open?'
  )


def _is_answer(answer: dict[str, Any], report: peers.Report) -> bool:
  """Whether it is one of process 0 of this job."""
  if answer.get('job') != report.job:
    return False
  hosts = answer.get('hosts')
  if isinstance(hosts, dict):
    return hosts.keys() == {str(i) for i in range(report.count)} and all(
      isinstance(host, str) for host in hosts.values()
    )
  return any(
    isinstance(answer.get(key), str) for key in ('twice', 'missing', 'error')
  )


def _answer_all(
  server: socket.socket, report: peers.Report, deadline: float
) -> dict[str, Any]:
  """Waits for the others; returns the answer that it gives to all alike."""
  with contextlib.closing(gathering.Gathering(server, report)) as gathered:
    gathered.wait(deadline)
    answer = {'job': report.job} | _answer(gathered, report)
    gathered.tell(peers.to_line(answer))
  return answer


def _answer(
  gathered: gathering.Gathering, primary: peers.Report
) -> dict[str, Any]:
  """Hosts by process if all is well, else what is wrong or who is missing."""
  reports = gathered.reports
  hosts = {i: report.host for i, report in sorted(reports.items())}
  missing = [str(i) for i in range(primary.count) if i not in reports]
  differences = [
    line
    for _, other in sorted(reports.items())
    for line in _differences(other, primary)
  ]
  if differences:
    return {'error': '\n'.join(differences)}
  if missing:
    lines = [
      f'of {primary.count} processes these did not come: '
      f'{", ".join(missing)}; those that came are on '
      + ', '.join(dict.fromkeys(hosts.values())),
      *gathered.twice,
    ]
    return {'missing': '\n'.join(lines)}
  return {'hosts': hosts}


def _differences(other: peers.Report, primary: peers.Report) -> Iterator[str]:
  """In words, what another process has other than process 0."""
  who = f'process {other.index} on {other.host}'
  if other.count != primary.count:
    yield (
      f'{who} is one of {other.count}, process 0 on {primary.host} one '
      f'of {primary.count}'
    )
  theirs, ours = other.facts, primary.facts
  differences = [
    f'{k} is {_shown(theirs.get(k))} instead of {_shown(ours.get(k))}'
    for k in sorted(theirs.keys() | ours.keys())
    if theirs.get(k) != ours.get(k)
  ]
  if differences:
    more = len(differences) - _SHOWN
    yield (
      f'{who} differs from process 0 on {primary.host}: '
      + '; '.join(differences[:_SHOWN])
      + (f' and {more} more' if more > 0 else '')
    )


def _shown(value: object) -> str:
  text = repr(value)
  return text if len(text) <= _WIDTH else text[:_WIDTH] + '...'
