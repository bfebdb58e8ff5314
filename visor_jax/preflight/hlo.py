"""What a compiled program computes, moves and sends, read from its HLO text.

XLA's own cost analysis counts the body of a loop once. Here a body counts as
often as its loop runs, and of a conditional the branch that costs more, or the
one that costs less: a plan with every optional layer on, or with none. Where a
branch computes nothing, as for keys that no query sees, the other counts.

All numbers are of one device. What a collective sends is what a ring of n
devices sends over each one's links: (n - 1) shards for an all-gather, (n - 1)/n
of the operand for a reduce-scatter or an all-to-all, twice that for an
all-reduce, the operand for a permute. Between islands, h of them, each
counts as one device, and all its devices send.
"""

import collections
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import re

from visor_jax.preflight import groups
from visor_jax.preflight import hlo_text
from visor_jax.preflight import loops
from visor_jax.preflight import products
from visor_jax.preflight import traffic

_CALLS = re.compile(
  r'(?:calls|to_apply|body|async_execution_thread_computation)=%?([\w.\-]+)'
)
_BRANCHES = re.compile(
  r'(?:branch_computations=\{([^}]*)\}|true_computation=%?([\w.\-]+), '
  r'false_computation=%?([\w.\-]+))'
)

_TARGET = re.compile(r'custom_call_target="([^"]*)"')
# Targets of kernels: Pallas on TPUs, Triton and Mosaic on GPUs, cuDNN.
_KERNELS = (
  'tpu_custom_call',
  '__gpu$xla.gpu.triton',
  'triton_kernel_call',
  'mosaic_gpu',
  '__cudnn',
)

# Collective -> (bytes of its operand, devices of a group) -> bytes sent.
SENT: dict[str, Callable[[float, int], float]] = {
  'all-gather': lambda size, n: size * (n - 1),
  'reduce-scatter': lambda size, n: size * (n - 1) / n,
  'all-reduce': lambda size, n: 2 * size * (n - 1) / n,
  'all-to-all': lambda size, n: size * (n - 1) / n,
  'collective-permute': lambda size, n: size if n > 1 else 0.0,
}
# They are made on an island first, so that of n devices on h islands each sends
# n/h times less to the others.
_SUMS = ('reduce-scatter', 'all-reduce')


@dataclasses.dataclass(frozen=True)
class Count:
  """What a device does in one run of a program.

  Attributes:
    flops: of matrix products and kernels of attention, 2 a multiply-add.
    moved: bytes read and written, see traffic.py.
    sent: {(collective, axes): bytes}; axes as 'fsdp' or 'data+fsdp'.
    between: bytes of them that go to another island.
    kernels: other kernels that run, which are not counted.
    loops: loops whose trips the text does not say; their bodies count once.
  """

  flops: float = 0
  moved: float = 0
  sent: Mapping[tuple[str, str], float] = dataclasses.field(
    default_factory=dict
  )
  between: float = 0
  kernels: int = 0
  loops: int = 0

  @property
  def bytes(self) -> float:
    """Sent in all."""
    return sum(self.sent.values())

  def times(self, n: int) -> 'Count':
    """Of n runs."""
    return Count(
      self.flops * n,
      self.moved * n,
      {key: size * n for key, size in self.sent.items()},
      self.between * n,
      self.kernels * n,
      self.loops,
    )

  def __add__(self, other: 'Count') -> 'Count':
    sent = collections.defaultdict(float, self.sent)
    for key, size in other.sent.items():
      sent[key] += size
    return Count(
      self.flops + other.flops,
      self.moved + other.moved,
      dict(sent),
      self.between + other.between,
      self.kernels + other.kernels,
      self.loops + other.loops,
    )


def counts(
  text: str, mesh: Mapping[str, int], islands: Sequence[int] = ()
) -> tuple[Count, Count]:
  """Counts a compiled program, by the dearer branches and by the cheaper ones.

  Args:
    text: `jax.stages.Compiled.as_text()`.
    mesh: {axis: size} in the order of the mesh.
    islands: number of the island of each device of the mesh; none for one.
  """
  program = hlo_text.parse(text)
  dearer, cheaper = (
    _Counter(program, mesh, islands, pick).computation(program.entry)
    for pick in (max, min)
  )
  return dearer, cheaper


class _Counter:
  """Counts computations, each once."""

  def __init__(
    self,
    program: hlo_text.Program,
    mesh: Mapping[str, int],
    islands: Sequence[int],
    pick: Callable[..., Count],
  ):
    self._program, self._mesh = program, mesh
    self._islands, self._pick = islands, pick
    self._counts: dict[str, Count] = {}
    self._rules: dict[str, Callable[[hlo_text.Instruction], Count]] = {
      'while': self._loop,
      'conditional': self._conditional,
      'dot': self._dot,
      'convolution': self._convolution,
      'fusion': self._fusion,
      'call': self._calls,
      'async-start': self._calls,
      'custom-call': self._custom_call,
    }

  def computation(self, name: str) -> Count:
    """What one run of a computation takes."""
    if name not in self._counts:
      body = self._program.computations.get(name, ())
      self._counts[name] = sum(map(self._instruction, body), Count())
    return self._counts[name]

  def _instruction(self, instruction: hlo_text.Instruction) -> Count:
    count = Count(moved=traffic.moved(self._program, instruction))
    collective = instruction.opcode.removesuffix('-start')
    if collective in SENT:
      return count + self._collective(collective, instruction)
    rule = self._rules.get(instruction.opcode)
    return count + rule(instruction) if rule else count  # else nearly free

  def _types(self, instruction: hlo_text.Instruction) -> list[str]:
    """Of its operands."""
    instructions = self._program.instructions
    return [instructions[name].type for name in instruction.operands]

  def _collective(
    self, collective: str, instruction: hlo_text.Instruction
  ) -> Count:
    group = groups.group(instruction.attributes, self._mesh, self._islands)
    n, h = group.devices, group.islands
    if n == 1:
      return Count()
    size = sum(map(hlo_text.num_bytes, self._types(instruction)))
    sent = SENT[collective]
    outside = size * h / n if collective in _SUMS else size
    return Count(
      sent={(collective, group.axes): sent(size, n)},
      between=sent(outside, h),
    )

  def _loop(self, instruction: hlo_text.Instruction) -> Count:
    trips = loops.trips(self._program, instruction)
    body = self.computation(hlo_text.find(_CALLS, instruction.attributes)[1])
    return body.times(trips or 1) + Count(loops=int(not trips))

  def _conditional(self, instruction: hlo_text.Instruction) -> Count:
    several, *two = hlo_text.find(_BRANCHES, instruction.attributes).groups()
    names = several.split(',') if several else two
    branches = [self.computation(n.strip().lstrip('%')) for n in names]
    count = self._pick(branches, key=_cost)
    return count if count.flops else max(branches, key=_cost)

  def _dot(self, instruction: hlo_text.Instruction) -> Count:
    left, *_ = self._types(instruction)
    return Count(products.dot(instruction.type, left, instruction.attributes))

  def _convolution(self, instruction: hlo_text.Instruction) -> Count:
    left, right, *_ = self._types(instruction)
    flops = products.convolution(
      instruction.type, left, right, instruction.attributes
    )
    return Count(flops)

  def _calls(self, instruction: hlo_text.Instruction) -> Count:
    names = _CALLS.findall(instruction.attributes)
    return sum(map(self.computation, names), Count())

  def _fusion(self, instruction: hlo_text.Instruction) -> Count:
    # What it keeps to itself is in registers.
    count = dataclasses.replace(self._calls(instruction), moved=0)
    if 'calls=%all-reduce-scatter' not in instruction.attributes:
      return count
    # As TPUs write it: of the sum only a shard is sent back.
    return dataclasses.replace(
      count,
      sent={
        ('reduce-scatter', axes): size / 2
        for (_, axes), size in count.sent.items()
      },
      between=count.between / 2,
    )

  def _custom_call(self, instruction: hlo_text.Instruction) -> Count:
    target = hlo_text.find(_TARGET, instruction.attributes)[1]
    if target.startswith('__cublas'):
      return self._dot(instruction)
    if target.startswith('__cudnn$conv'):
      return self._convolution(instruction)
    if not target.startswith(_KERNELS):
      return Count()
    types = self._types(instruction)
    flops = products.attention(instruction.type, types)
    return Count(kernels=1) if flops is None else Count(flops)


def _cost(count: Count) -> tuple[float, float]:
  return count.flops, count.bytes
