"""Connections that say nothing are closed, and there are not too many."""

import asyncio
from typing import Any

from uvicorn.protocols.http import h11_impl

from visor_jax.serve import limits as limits_lib


def protocol(limits: limits_lib.Limits) -> type[asyncio.Protocol]:
  """uvicorn's HTTP, bounded in connections and in time for the first head.

  Of too many the one goes that has been silent for longest.
  """
  silent: dict[Any, asyncio.TimerHandle] = {}  # in the order of their coming

  class Bounded(h11_impl.H11Protocol):
    def connection_made(self, transport: Any) -> None:
      super().connection_made(transport)
      silent[self] = self.loop.call_later(limits.head_seconds, self.too_late)
      if len(self.connections) > limits.connections:
        next(iter(silent)).too_late()

    def too_late(self) -> None:
      silent.pop(self).cancel()
      if self.cycle is None:
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
      if self in silent:
        silent.pop(self).cancel()
      super().connection_lost(exc)

  return Bounded
