"""Settings near the asked ones that fit.

An estimate says which to try: what parameters, optimizer and gradients take is
known for every mesh, and the rest is as much a row as the last compiled step
took. Then the nearest one is compiled, and the estimate learns from it.
"""

from collections.abc import Mapping
import dataclasses
import itertools
import math

from visor_jax.data.suites import table as suites
from visor_jax.preflight import compiler
from visor_jax.preflight import machine as machine_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.training import model as model_lib
from visor_jax.training import program as program_lib
from visor_jax.training import stages

_SLOTS = ('text', 'visual', 'tiles')


@dataclasses.dataclass(frozen=True)
class Settings:
  """What may be changed so that a step fits.

  Attributes:
    mesh: {axis: devices along it}, of every axis.
    batch: rows of the global batch.
    share: of the configured slots of a row.
    remat: layers are recomputed in the backward pass.
    accumulate: parts of a batch, one after the other.
  """

  mesh: Mapping[str, int]
  batch: int
  share: float = 1.0
  remat: bool = True
  accumulate: int = 1

  @property
  def shards(self) -> int:
    """Over how many devices the rows of a batch are split."""
    return math.prod(self.mesh[axis] for axis in mesh_lib.RULES['batch'])

  @property
  def rows(self) -> int:
    """At a time on a device, tensor parallel ones counted together."""
    return self.batch // (self.shards * self.accumulate)

  def apply(self, config, name: str):
    """A copy of the config with these settings."""
    config = config.copy_and_resolve_references()
    for key, value in self.changes(config, name).items():
      *path, last = key.split('.')
      node = config
      for part in path:
        node = node[part]
      node[last] = value
    return config

  def changes(self, config, name: str) -> dict:
    """{key: value} of what differs from a config."""
    keys = lambda s: {
      **{f'mesh.{axis}': s.mesh[axis] for axis in mesh_lib.AXES},
      f'{name}.batch': s.batch,
      'model.remat': s.remat,
      f'{name}.accumulate': s.accumulate,
      **{
        f'data.packed.{slot}': _slots(config, slot, s.share) for slot in _SLOTS
      },
    }
    now = keys(asked(config, name, math.prod(self.mesh.values())))
    return {k: v for k, v in keys(self).items() if v != now[k]}


def asked(config, name: str, count: int) -> Settings:
  """The settings of a config on so many devices."""
  return Settings(
    machine_lib.shape_of(config, count),
    batch=config[name].batch,
    remat=config.model.remat,
    accumulate=config[name].accumulate,
  )


class Weights:
  """What parameters take on any mesh.

  Args:
    config: the whole config.
    name: of the stage.
    devices: any.
  """

  def __init__(self, config, name: str, devices):
    mesh = mesh_lib.make(devices=devices[:1])
    params = model_lib.abstract_params(model_lib.build(config), mesh)
    self._leaves, self._lengths = [], {axis: 0 for axis in mesh_lib.AXES}
    for trains, tree in zip(
      (True, False), param_paths.split(params, stages.named(name).trains)
    ):
      for leaf in tree.values():
        axes = list(map(mesh_lib.spec_axes, leaf.sharding.spec))
        self._leaves.append(
          (trains, leaf.size * leaf.dtype.itemsize, [*itertools.chain(*axes)])
        )
        for split, length in zip(axes, leaf.shape):
          for axis in split:
            self._lengths[axis] = math.gcd(self._lengths[axis], length)

  def divides(self, axis: str, n: int) -> bool:
    """Whether every parameter divides by n along a mesh axis."""
    return self._lengths[axis] % n == 0

  def held(self, s: Settings) -> tuple[float, float]:
    """Bytes of a device's parameters that train, and of frozen ones."""
    found = [0.0, 0.0]
    for trains, size, axes in self._leaves:
      found[not trains] += size / math.prod(s.mesh[axis] for axis in axes)
    return tuple(found)


class Estimate:
  """What a device holds under any settings, from the last that were measured.

  Until then only what is known counts: parameters, optimizer, gradients.
  """

  def __init__(self, weights: Weights):
    self._weights, self._row = weights, 0.0

  def learn(self, s: Settings, temporaries: float) -> None:
    """Takes a measurement in, of bytes beside the step's arguments."""
    trained, _ = self._weights.held(s)
    self._row = max(
      0.0, temporaries - self._gradients(s) * trained
    ) / self._rows(s)

  def __call__(self, s: Settings) -> float:
    """Bytes."""
    trained, frozen = self._weights.held(s)
    # Parameters and two moments, float32 as gradients are.
    return (
      (3 + self._gradients(s)) * trained + frozen + self._row * self._rows(s)
    )

  def _gradients(self, s):
    """How many are held: the batch's and, where it comes in parts, a part's."""
    return 1 + (s.accumulate > 1)

  def _rows(self, s):
    """Rows of a device, weighed by what they take.

    A guess, corrected by measuring: tensor parallelism spreads half of a row,
    what is inside of layers; without remat a row takes four times as much.
    """
    return (
      s.rows * s.share * (0.5 + 0.5 / s.mesh['tensor']) * (1 if s.remat else 4)
    )


def near(config, name: str, count: int, weights: Weights) -> list[Settings]:
  """Settings on so many devices that fit together, the nearest first.

  What leaves the result as it is comes first: mesh, parts of a batch, remat.
  Then the batch, then the row, which never gets too short for a whole question.
  """
  now = asked(config, name, count)
  # Any other axis stays as it is.
  count = math.prod(now.mesh[axis] for axis in ('data', 'fsdp', 'tensor'))
  shares = [
    share
    for share in (1.0, 0.5, 0.25)
    if share == 1
    or (
      suites.entry(config).packed
      and stages.named(name).feed.packed
      and all(_slots(config, s, share) >= config.data.prompt[s] for s in _SLOTS)
    )
  ]
  found = []
  for tensor in filter(
    lambda n: weights.divides('tensor', n), _divisors(count)
  ):
    for fsdp in filter(
      lambda n: weights.divides('fsdp', n), _divisors(count // tensor)
    ):
      data = count // tensor // fsdp
      mesh = now.mesh | dict(data=data, fsdp=fsdp, tensor=tensor)
      ways = Settings(mesh, now.batch).shards
      found += [
        Settings(mesh, batch, share, remat, parts)
        for batch, share, remat in itertools.product(
          _batches(now.batch, ways), shares, {now.remat, True}
        )
        for parts in _divisors(batch // ways)
      ]
  steps = lambda a, b: abs(math.log2(a / b))
  return sorted(
    found,
    key=lambda s: (
      -s.share,
      steps(s.batch, now.batch),
      s.mesh['tensor'] != now.mesh['tensor'],
      s.mesh['tensor'],
      s.remat != now.remat,
      steps(s.accumulate, now.accumulate),
      steps(s.mesh['fsdp'], now.mesh['fsdp']),
    ),
  )


def propose(
  config,
  name: str,
  machine: machine_lib.Machine,
  measured=None,
  tries: int = 4,
  say=lambda text: None,
) -> dict:
  """Looks for the nearest settings that fit and compiles them.

  Args:
    config: the whole config, which does not fit.
    name: of the stage.
    machine: with `memory`.
    measured: bytes of temporaries of the configured step, None where it could
      not be compiled for another reason.
    tries: steps to compile at most.
    say: told of every try.

  Returns:
    {changes, bytes, tried}: the keys to change, None where nothing was found;
    bytes of a device, as compiled; the changes that were tried in vain.
  """
  weights = Weights(config, name, machine.devices)
  estimate, count = Estimate(weights), len(machine.devices)
  now = asked(config, name, count)
  if measured is not None and now.batch % now.shards == 0:
    estimate.learn(now, measured)
  options = [s for s in near(config, name, count, weights) if s != now]
  tried = []
  while len(tried) < tries:
    s = next((s for s in options if estimate(s) <= machine.memory), None)
    if s is None:
      break
    options.remove(s)
    changes = s.changes(config, name)
    try:
      program = compiler.train_program(s.apply(config, name), name, machine)
      say(f'trying {flags(changes)}')
      tried.append(changes)
      total, temporaries = measure(program, machine)
    except ValueError as e:
      say(str(e))
      continue
    if total <= machine.memory:
      return dict(changes=changes, bytes=total, tried=tried[:-1])
    estimate.learn(s, temporaries)
  return dict(changes=None, bytes=None, tried=tried)


def measure(
  program: program_lib.TrainProgram, machine: machine_lib.Machine
) -> tuple[float, float]:
  """Bytes that a step takes in all, and its temporaries."""
  held = sum(compiler.held(program).values())
  try:
    compiled = compiler.compile_step(program, machine)
  except compiler.TooBig as e:
    temporaries = e.needed if e.temporaries else e.needed - held
    return math.inf, temporaries
  total = compiled.peak + compiled.code
  return total, total - held


def flags(changes: dict) -> str:
  """Changes as they are typed."""
  return ' '.join(f'--config.{k}={v}' for k, v in changes.items())


def _slots(config, name, share):
  return int(config.data.packed[name] * share)


def _divisors(n):
  return [d for d in range(1, n + 1) if n % d == 0]


def _batches(batch, ways):
  """Batches that divide: the asked one, its halves, or a row for each way."""
  halves = [batch >> i for i in range(batch.bit_length())]
  found = {b for b in halves if b and b % ways == 0}
  return found or {ways}
