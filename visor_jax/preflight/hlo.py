"""What a compiled program computes and sends, read from its HLO text.

XLA's own cost analysis counts the body of a loop once. Here a body counts as
often as its loop runs, and of a conditional the branch that costs more, or the
one that costs less: a plan with every optional layer on, or with none.

All numbers are of one device. What a collective sends is what a ring of n
devices sends over each one's links: (n - 1) shards for an all-gather, (n - 1)/n
of the operand for a reduce-scatter or an all-to-all, twice that for an
all-reduce, the operand for a permute.
"""

import collections
from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import re

from visor_jax.preflight import groups
from visor_jax.preflight import hlo_text
from visor_jax.preflight import loops
from visor_jax.preflight import products

_CALLS = re.compile(
  r'(?:calls|to_apply|body|async_execution_thread_computation)=%?([\w.\-]+)'
)
_BRANCHES = re.compile(
  r'(?:branch_computations=\{([^}]*)\}|true_computation=%?([\w.\-]+), '
  r'false_computation=%?([\w.\-]+))'
)

# Collective -> (bytes of its operand, devices of a group) -> bytes sent.
SENT: dict[str, Callable[[float, int], float]] = {
  'all-gather': lambda size, n: size * (n - 1),
  'reduce-scatter': lambda size, n: size * (n - 1) / n,
  'all-reduce': lambda size, n: 2 * size * (n - 1) / n,
  'all-to-all': lambda size, n: size * (n - 1) / n,
  'collective-permute': lambda size, n: size,
}


@dataclasses.dataclass(frozen=True)
class Count:
  """What a device does in one run of a program.

  Attributes:
    flops: of matrix products, 2 a multiply-add; kernels are not looked into.
    sent: {(collective, axes): bytes}; axes as 'fsdp' or 'data+fsdp'.
    kernels: custom calls that run, whose FLOPs are not counted.
    loops: loops whose trips the text does not say; their bodies count once.
  """

  flops: float = 0
  sent: Mapping[tuple[str, str], float] = dataclasses.field(
    default_factory=dict
  )
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
      {key: size * n for key, size in self.sent.items()},
      self.kernels * n,
      self.loops,
    )

  def __add__(self, other: 'Count') -> 'Count':
    sent = collections.defaultdict(float, self.sent)
    for key, size in other.sent.items():
      sent[key] += size
    return Count(
      self.flops + other.flops,
      dict(sent),
      self.kernels + other.kernels,
      self.loops + other.loops,
    )


def count(text: str, mesh: Mapping[str, int], dearer: bool = True) -> Count:
  """Counts a compiled program.

  Args:
    text: `jax.stages.Compiled.as_text()`.
    mesh: {axis: size} in the order of the mesh.
    dearer: of a conditional the branch with more FLOPs counts; else the other.
  """
  program = hlo_text.parse(text)
  return _Counter(program, mesh, dearer).computation(program.entry)


class _Counter:
  """Counts computations, each once."""

  def __init__(
    self, program: hlo_text.Program, mesh: Mapping[str, int], dearer: bool
  ):
    self._program, self._mesh, self._dearer = program, mesh, dearer
    self._counts: dict[str, Count] = {}
    self._rules: dict[str, Callable[[hlo_text.Instruction], Count]] = {
      'while': self._loop,
      'conditional': self._conditional,
      'dot': self._dot,
      'convolution': self._convolution,
      'fusion': self._calls,
      'call': self._calls,
      'async-start': self._calls,
      'custom-call': self._kernel,
    }

  def computation(self, name: str) -> Count:
    """What one run of a computation takes."""
    if name not in self._counts:
      body = self._program.computations.get(name, ())
      self._counts[name] = sum(map(self._instruction, body), Count())
    return self._counts[name]

  def _instruction(self, instruction: hlo_text.Instruction) -> Count:
    collective = instruction.opcode.removesuffix('-start')
    if collective in SENT:
      return self._collective(collective, instruction)
    rule = self._rules.get(instruction.opcode)
    return rule(instruction) if rule else Count()  # all else is nearly free

  def _type(self, name: str) -> str:
    return self._program.instructions[name].type

  def _collective(
    self, collective: str, instruction: hlo_text.Instruction
  ) -> Count:
    axes, n = groups.axes(instruction.attributes, self._mesh)
    if n == 1:
      return Count()
    types = map(self._type, instruction.operands)
    size = sum(map(hlo_text.num_bytes, types))
    return Count(sent={(collective, axes): SENT[collective](size, n)})

  def _loop(self, instruction: hlo_text.Instruction) -> Count:
    trips = loops.trips(self._program, instruction)
    body = self.computation(hlo_text.find(_CALLS, instruction.attributes)[1])
    return body.times(trips or 1) + Count(loops=int(not trips))

  def _conditional(self, instruction: hlo_text.Instruction) -> Count:
    several, *two = hlo_text.find(_BRANCHES, instruction.attributes).groups()
    names = several.split(',') if several else two
    branches = [self.computation(n.strip().lstrip('%')) for n in names]
    pick = max if self._dearer else min
    return pick(branches, key=lambda branch: (branch.flops, branch.bytes))

  def _dot(self, instruction: hlo_text.Instruction) -> Count:
    left = self._type(instruction.operands[0])
    flops = products.dot(instruction.type, left, instruction.attributes)
    return Count(flops)

  def _convolution(self, instruction: hlo_text.Instruction) -> Count:
    left, right = map(self._type, instruction.operands[:2])
    flops = products.convolution(
      instruction.type, left, right, instruction.attributes
    )
    return Count(flops)

  def _calls(self, instruction: hlo_text.Instruction) -> Count:
    names = _CALLS.findall(instruction.attributes)
    return sum(map(self.computation, names), Count())

  def _kernel(self, instruction: hlo_text.Instruction) -> Count:
    return Count(kernels=int('tpu_custom_call' in instruction.attributes))
