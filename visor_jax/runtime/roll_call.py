"""The roll call: who is here, and do all run the same?

Before jax connects its processes, process 0 listens where their coordinator
will be and hears from every one who it is and what it runs. It answers all
alike: go, or what is wrong. Jax itself would only wait and abort, and tell
neither who is missing nor that a host runs yesterday's code.
"""

import contextlib
import json
import socket
import time

_READ = 5  # seconds for a line that is on its way


def roll_call(
  address: str, count: int, index: int, facts: dict, patience: float
) -> dict[int, str]:
  """Returns when all are here.

  Args:
    address: 'host:port' of process 0.
    count: of processes.
    index: of this one.
    facts: {what: value} that must be the same everywhere; JSON.
    patience: seconds.

  Returns:
    {process: its host}.

  Raises:
    TimeoutError: naming those that did not come.
    ValueError: naming those that differ, and in what.
  """
  deadline = time.monotonic() + patience
  mine = dict(
    index=index,
    host=socket.gethostname(),
    count=count,
    facts=json.loads(json.dumps(facts)),
  )
  host, _, port = address.rpartition(':')
  if index:
    answer = _report((host, int(port)), mine, deadline)
  else:
    bind = host if loopback(address) else ''
    try:
      server = socket.create_server((bind, int(port)), backlog=count)
    except OSError as e:
      raise ValueError(
        f'process 0 cannot listen on port {port}: {e}; set '
        'another (JAX_COORDINATOR_PORT in a cluster)'
      ) from None
    with server:
      answer = _hear(server, mine, deadline)
  if 'missing' in answer:
    raise TimeoutError(answer['missing'])
  if 'error' in answer:
    raise ValueError(answer['error'])
  return {int(i): host for i, host in answer['hosts'].items()}


def loopback(address: str) -> bool:
  """Whether all processes must be on this machine."""
  return address.rpartition(':')[0] in ('127.0.0.1', 'localhost')


def _report(address, mine, deadline):
  """Tells process 0 who is here; its answer."""
  while (left := deadline - time.monotonic()) > 0:
    with contextlib.suppress(OSError, ValueError):
      with socket.create_connection(address, timeout=min(left, 10)) as line:
        _send(line, mine)
        line.settimeout(left + _READ)  # process 0 says when it gives up
        return _read(line)
    time.sleep(0.2)
  raise TimeoutError(
    f'process {mine["index"]} of {mine["count"]} on {mine["host"]}: process '
    f'0 does not answer at {address[0]}:{address[1]}; does it run, and is '
    'the port open?'
  )


def _hear(server, mine, deadline):
  """Waits for all; answers all alike."""
  came, lines, errors = {0: mine}, [], []
  while len(came) < mine['count'] and not errors:
    left = deadline - time.monotonic()
    if left <= 0:
      break
    server.settimeout(left)
    try:
      line, _ = server.accept()
      line.settimeout(_READ)
      it = _read(line)
      index, host = it['index'], it['host']
    except (OSError, ValueError, KeyError, TypeError):
      continue  # nobody came, or a stranger
    lines.append(line)
    if index in came:
      errors.append(
        f'process {index} came twice, from {came[index]["host"]} '
        f'and from {host}; does an old one still run?'
      )
    errors += _differences(it, mine)
    came[index] = it
  hosts = {i: it['host'] for i, it in sorted(came.items())}
  missing = [str(i) for i in range(mine['count']) if i not in came]
  if errors:
    answer = {'error': '\n'.join(errors)}
  elif missing:
    answer = {
      'missing': (
        f'of {mine["count"]} processes these did not come: '
        f'{", ".join(missing)}; those that came are on '
        + ', '.join(dict.fromkeys(hosts.values()))
      )
    }
  else:
    answer = {'hosts': hosts}
  for line in lines:
    with line, contextlib.suppress(OSError):
      _send(line, answer)
  return answer


def _differences(it, mine):
  """In words, what another process has other than process 0."""
  who = f'process {it["index"]} on {it["host"]}'
  if it['count'] != mine['count']:
    yield (
      f'{who} is one of {it["count"]}, process 0 on {mine["host"]} one of '
      f'{mine["count"]}'
    )
  theirs, ours = it['facts'], mine['facts']
  found = [
    f'{k} is {theirs.get(k)!r} instead of {ours.get(k)!r}'
    for k in sorted(theirs.keys() | ours.keys())
    if theirs.get(k) != ours.get(k)
  ]
  if found:
    yield (
      f'{who} differs from process 0 on {mine["host"]}: ' + '; '.join(found)
    )


def _send(line, value):
  line.sendall(json.dumps(value).encode() + b'\n')


def _read(line):
  return json.loads(line.makefile().readline())
