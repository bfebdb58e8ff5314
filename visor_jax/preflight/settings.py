"""Settings that say how a step lies on devices, and those near them."""

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import itertools
import math
from typing import Any

import ml_collections

from visor_jax.data.suites import table as suites
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import param_bytes
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.training import stages


@dataclasses.dataclass(frozen=True)
class Settings:
  """What may be changed so that a step fits.

  Attributes:
    mesh: {axis: devices along it}, of every axis.
    batch: rows of the global batch.
    share: of the configured slots of a row.
    remat: model.remat.
    accumulate: parts of a batch.
  """

  mesh: Mapping[str, int]
  batch: int
  share: float = 1.0
  remat: bool = True
  accumulate: int = 1

  @property
  def shards(self) -> int:
    """Over how many devices the rows of a batch are split."""
    return _shards(self.mesh)

  @property
  def rows(self) -> int:
    """At a time on a device, tensor parallel ones counted together."""
    return self.batch // (self.shards * self.accumulate)

  def apply(
    self, config: ml_collections.ConfigDict, stage: str
  ) -> ml_collections.ConfigDict:
    """A copy of the config with these settings.

    Args:
      config: the whole config.
      stage: name of the stage that they are for.
    """
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(self.changes(config, stage))
    return config

  def changes(
    self, config: ml_collections.ConfigDict, stage: str
  ) -> dict[str, Any]:
    """{key: value} of what differs from a config; arguments as of `apply`."""
    devices = math.prod(self.mesh.values())
    now = asked(config, stage, devices)._keys(config, stage)
    keys = self._keys(config, stage)
    return {key: value for key, value in keys.items() if value != now[key]}

  def _keys(
    self, config: ml_collections.ConfigDict, stage: str
  ) -> dict[str, Any]:
    slots = {
      key: int(count * self.share)
      for key, count in suites.packed_slots(config).items()
    }
    return {
      **{f'mesh.{axis}': self.mesh[axis] for axis in mesh_lib.AXES},
      f'{stage}.batch': self.batch,
      'model.remat': self.remat,
      f'{stage}.accumulate': self.accumulate,
      **slots,
    }


def asked(
  config: ml_collections.ConfigDict, stage: str, devices: int
) -> Settings:
  """The settings of a config on so many devices."""
  return Settings(
    machine_lib.mesh_shape(config, devices),
    batch=config[stage].batch,
    remat=config.model.remat,
    accumulate=config[stage].accumulate,
  )


def near(
  config: ml_collections.ConfigDict,
  stage: str,
  devices: int,
  params: param_bytes.ParamBytes,
) -> list[Settings]:
  """Settings on so many devices that fit together, the nearest first.

  What leaves the result as it is comes first: mesh, parts of a batch, remat.
  Then the batch, then the row, which never gets too short for a whole question.
  """
  now, shares = asked(config, stage, devices), _shares(config, stage)
  slots = math.gcd(*suites.packed_slots(config).values()) or 1
  candidates = [
    Settings(mesh, batch, share, remat, parts)
    for mesh in _meshes(now.mesh, params)
    if slots * min(shares) % mesh['sequence'] == 0
    for batch, share, remat in itertools.product(
      _batches(now.batch, _shards(mesh)), shares, {now.remat, True}
    )
    for parts in _divisors(batch // _shards(mesh))
  ]

  def distance(settings: Settings) -> tuple[float, ...]:
    return (
      -settings.share,
      _octaves(settings.batch, now.batch),
      settings.mesh['tensor'] != now.mesh['tensor'],
      settings.mesh['tensor'],
      settings.mesh['sequence'] != now.mesh['sequence'],
      settings.mesh['sequence'],
      settings.remat != now.remat,
      _octaves(settings.accumulate, now.accumulate),
      _octaves(settings.mesh['fsdp'], now.mesh['fsdp']),
    )

  return sorted(candidates, key=distance)


def _shards(mesh: Mapping[str, int]) -> int:
  return math.prod(mesh[axis] for axis in mesh_lib.RULES['batch'])


def _meshes(
  now: Mapping[str, int], params: param_bytes.ParamBytes
) -> Iterator[dict[str, int]]:
  """Meshes by which every parameter divides; any other axis stays as it is."""
  axes = 'fsdp', 'tensor', 'sequence'
  devices = math.prod(now[axis] for axis in ('data', *axes))
  for sizes in itertools.product(_divisors(devices), repeat=len(axes)):
    data, rest = divmod(devices, math.prod(sizes))
    mesh = {**now, 'data': data, **dict(zip(axes, sizes))}
    if not rest and params.divides(mesh):
      yield mesh


def _shares(config: ml_collections.ConfigDict, stage: str) -> list[float]:
  """Shares of a row's slots that still hold a question asked alone."""
  packed = suites.entry(config).packed and stages.named(stage).feed.packed
  fewer = [
    share
    for share in (0.5, 0.25)
    if packed
    and all(
      int(config.data.packed[slot] * share) >= least
      for slot, least in config.data.prompt.items()
    )
  ]
  return [1.0, *fewer]


def _batches(batch: int, shards: int) -> set[int]:
  """Batches that divide: the asked one, its halves, or a row for each shard."""
  halves = [batch >> i for i in range(batch.bit_length())]
  return {b for b in halves if b and b % shards == 0} or {shards}


def _divisors(n: int) -> list[int]:
  return [d for d in range(1, n + 1) if n % d == 0]


def _octaves(a: int, b: int) -> float:
  """How often one doubles to the other."""
  return abs(math.log2(a / b))
