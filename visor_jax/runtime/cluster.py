"""Many processes that run as one: joining the others, and waiting in bounds.

Before jax joins them, all answer a roll call (roll_call.py). From there on
jax's coordination service carries barriers and short texts, each with a name
and a limit.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import itertools
import json
import socket
from typing import TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from visor_jax.runtime import environment
from visor_jax.runtime import errors
from visor_jax.runtime import jax_private
from visor_jax.runtime import liveness
from visor_jax.runtime import preempt
from visor_jax.runtime import roll_call

TIMEOUT = 600  # seconds that processes which work in step wait for another

T = TypeVar('T')

_hosts = {0: socket.gethostname()}  # process -> host, from the roll call
_exchanges = itertools.count()  # a barrier each; all come in one order


def join(
  process: environment.Process,
  facts: Mapping[str, object],
  timeout: int = 300,
) -> None:
  """Joins the others; before anything touches a device.

  Args:
    process: this one among them.
    facts: {what: value} that must be the same everywhere; JSON.
    timeout: seconds to wait for the others.

  Raises:
    TimeoutError: naming the processes that did not come.
    Passing: this process has come before, or the port is in use.
    Refusal: naming those that differ, and in what.
  """
  if process.count == 1:
    return
  _hosts.update(
    roll_call.roll_call(
      process.coordinator,
      process.count,
      process.index,
      facts,
      timeout,
      process.job,
    )
  )
  local = roll_call.is_loopback(process.coordinator)
  try:
    jax.distributed.initialize(
      process.coordinator,
      process.count,
      process.index,
      process.devices and list(process.devices),
      cluster_detection_method='deactivate',
      initialization_timeout=timeout,
      coordinator_bind_address=process.coordinator if local else None,
      shutdown_timeout_seconds=60,
    )
  except jax.errors.JaxRuntimeError as e:
    raise errors.Passing(
      f'{_names([process.index])} could not join the others at '
      f'{process.coordinator}: {e}'
    ) from e
  liveness.Watch(jax_private.coordination_client(), process.index, _hosts)
  preempt.hand_over()


def is_primary() -> bool:
  """Whether this is process 0, which writes and talks for all."""
  return jax.process_index() == 0


def hosts() -> tuple[str, ...]:
  """Names of the hosts, each once, that of process 0 first."""
  return tuple(dict.fromkeys(_hosts.values()))


def host() -> str:
  """The name of this process's host."""
  return _hosts[jax.process_index()]


def exchange(what: str, text: str = '', timeout: float = TIMEOUT) -> list[str]:
  """A short text of every process, in order; also a barrier.

  Args:
    what: purpose of the exchange, the same in all processes.
    text: contribution of this process.
    timeout: seconds to wait for the others.

  Raises:
    TimeoutError: naming what was waited for, and who did not come.
    RuntimeError: naming who waits for something else.
  """
  if jax.process_count() == 1:
    return [text]
  client = jax_private.coordination_client()
  name = f'visor_jax/{next(_exchanges)}'
  client.key_value_set(
    f'{name}/{jax.process_index():06d}', json.dumps([what, text])
  )
  late = False
  try:
    client.wait_at_barrier(name, int(1000 * timeout))
  except jax.errors.JaxRuntimeError:
    late = True
  answers = {
    int(key.rpartition('/')[2]): json.loads(value)
    for key, value in client.key_value_dir_get(name)
  }
  if late:
    missing = [i for i in range(jax.process_count()) if i not in answers]
    raise TimeoutError(
      f'"{what}": after {timeout:.0f} seconds without '
      + (_names(missing) or 'the last one the others had gone')
    )
  elsewhere = [i for i in answers if answers[i][0] != what]
  if elsewhere:
    raise RuntimeError(
      f'"{what}": {_names(elsewhere)} is at "{answers[elsewhere[0]][0]}"'
    )
  return [answers[i][1] for i in sorted(answers)]


def all_or_raise(what: str, act: Callable[[], T]) -> T:
  """`act()` in every process: all go on with it, or all stop.

  Args:
    what: purpose of the act, the same in all processes.
    act: function that checks what was given: its ValueErrors are refusals.

  Raises:
    Refusal: what any of them refuses, in one text, if none failed otherwise.
    Exception: of this process, if it failed otherwise.
    Passing: what others failed in, in one text.
  """
  with errors.refusals():
    if jax.process_count() == 1:
      return act()
  error: Exception | None = None
  try:
    with errors.refusals():
      result = act()
  except Exception as e:  # whatever it is, the others must not wait
    error = e
  refused = isinstance(error, errors.Refusal)
  text = '' if error is None else str(error) or repr(error)
  answers = [
    json.loads(answer) for answer in exchange(what, json.dumps([refused, text]))
  ]
  failures = dict.fromkeys(
    text for refused, text in answers if text and not refused
  )
  refusals = dict.fromkeys(text for refused, text in answers if refused)
  if error is not None and failures and not refused:
    raise error
  if failures:
    raise errors.Passing('\n'.join(failures))
  if refusals:
    raise errors.Refusal('\n'.join(refusals))
  return result


def allgather_json(value: T) -> list[T]:
  """What every process has, in order; any JSON, by way of the devices."""
  if jax.process_count() == 1:
    return [value]
  text = json.dumps(value).encode()
  lengths = multihost_utils.process_allgather(np.int32(len(text)))
  width = 1 << int(lengths.max() - 1).bit_length()  # few sizes, few programs
  texts = multihost_utils.process_allgather(
    np.frombuffer(text.ljust(width), np.uint8)
  )
  return [json.loads(bytes(row[:n])) for row, n in zip(texts, lengths)]


def to_host(x: jax.Array) -> np.ndarray:
  """All of a global array, in every process."""
  return multihost_utils.process_allgather(x, tiled=True)


def _names(processes: Iterable[int]) -> str:
  return ', '.join(f'process {i} on {_hosts[i]}' for i in processes)
