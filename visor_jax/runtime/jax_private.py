"""The private names of jax that we use, each with what it is for.

Jax has no public name for them and may move them in any release; the test of
this file says which one moved.
"""

from collections.abc import Sequence
from typing import Protocol

from jax._src import clusters
from jax._src import distributed


class CoordinationClient(Protocol):
  """Connection to the service that jax's processes coordinate by."""

  def key_value_set(
    self, key: str, value: str, allow_overwrite: bool = False
  ) -> None: ...

  def key_value_dir_get(self, key: str) -> list[tuple[str, str]]: ...

  def wait_at_barrier(self, barrier_id: str, timeout_in_ms: int) -> None: ...


def detect_cluster(
  timeout: int,
) -> tuple[str | None, int | None, int | None, Sequence[int] | None]:
  """Reads the clusters that jax knows, from the environment.

  jax.distributed.initialize does so too, but connects at once; we have the
  processes say who they are before.

  Args:
    timeout: seconds for names of hosts to be known.

  Returns:
    'host:port' of process 0, the number of processes, the index of this one,
    and the local ids of its devices; each None where nothing says it.
  """
  return clusters.ClusterEnv.auto_detect_unset_distributed_params(
    coordinator_address=None,
    num_processes=None,
    process_id=None,
    local_device_ids=None,
    cluster_detection_method=None,
    initialization_timeout=timeout,
  )


def coordination_client() -> CoordinationClient:
  """The client of this process, once jax.distributed is initialized.

  What is public, in multihost_utils, runs on the devices: it waits without a
  limit, and cannot say for whom.
  """
  client = distributed.global_state.client
  if client is None:
    raise RuntimeError('jax.distributed is not initialized')
  return client
