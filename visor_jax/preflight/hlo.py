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
import dataclasses
import math
import re

import numpy as np

from visor_jax.preflight import groups

KINDS = (
  'all-gather',
  'reduce-scatter',
  'all-reduce',
  'all-to-all',
  'collective-permute',
)

_OPENING = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\{$')
_LINE = re.compile(r'^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$')
_OPCODE = re.compile(r'(?:^|\s)([a-z][a-z0-9\-]*)\(')
_ARRAY = re.compile(r'([a-z]+[0-9]*[a-z0-9]*)\[([0-9,]*)\]')
_CALLS = re.compile(
  r'(?:calls|to_apply|body|async_execution_thread_computation)=%?([\w.\-]+)'
)
_BRANCHES = re.compile(
  r'(?:branch_computations=\{([^}]*)\}|true_computation=%?([\w.\-]+), '
  r'false_computation=%?([\w.\-]+))'
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Count:
  """What a device does in one run of a program.

  Attributes:
    flops: of matrix products, 2 a multiply-add; kernels are not looked into.
    sent: {(kind, axes): bytes}; axes as 'fsdp' or 'data+fsdp'.
    kernels: custom calls that run, whose FLOPs are not counted.
    loops: loops whose trips the text does not say; their bodies count once.
  """

  flops: float = 0
  sent: dict = dataclasses.field(default_factory=dict)
  kernels: int = 0
  loops: int = 0

  @property
  def bytes(self) -> float:
    return sum(self.sent.values())

  def times(self, n: int) -> 'Count':
    return Count(
      self.flops * n,
      {k: v * n for k, v in self.sent.items()},
      self.kernels * n,
      self.loops,
    )

  def __add__(self, other: 'Count') -> 'Count':
    sent = collections.Counter(self.sent)
    sent.update(other.sent)
    return Count(
      self.flops + other.flops,
      dict(sent),
      self.kernels + other.kernels,
      self.loops + other.loops,
    )


def count(text: str, mesh: dict[str, int], dearer: bool = True) -> Count:
  """Counts a compiled program.

  Args:
    text: `jax.stages.Compiled.as_text()`.
    mesh: {axis: size} in the order of the mesh.
    dearer: of a conditional the branch with more FLOPs counts; else the other.
  """
  bodies, entry = _computations(text)
  lines = {name: line for body in bodies.values() for name, line in body}
  types = {
    name: line[: _OPCODE.search(line).start()] for name, line in lines.items()
  }
  pick = max if dearer else min
  done = {}

  def of(name):
    if name not in done:
      done[name] = sum((one(line) for _, line in bodies.get(name, ())), Count())
    return done[name]

  def one(line):
    match = _OPCODE.search(line)
    opcode, rest = match[1], line[match.end() :]
    operands, attributes = _split(rest)
    kind = opcode.removesuffix('-start')
    if kind in KINDS:
      axes, n = groups.axes(attributes, mesh)
      size = sum(_bytes(types[name]) for name in operands)
      return Count(sent={(kind, axes): _sent(kind, size, n)} if n > 1 else {})
    if opcode == 'while':
      trips = _trips(operands[0], attributes, bodies, lines)
      return of(_CALLS.search(attributes)[1]).times(trips or 1) + Count(
        loops=not trips
      )
    if opcode == 'conditional':
      found = _BRANCHES.search(attributes)
      names = found[1].split(',') if found[1] else found.groups()[1:]
      return pick(
        (of(name.strip().lstrip('%')) for name in names),
        key=lambda c: (c.flops, c.bytes),
      )
    if opcode == 'dot':
      return Count(
        2
        * _elements(line[: match.start()])
        * _contracted(types[operands[0]], attributes)
      )
    if opcode == 'convolution':
      return Count(
        2
        * _convolved(
          *(types[name] for name in operands[:2]),
          line[: match.start()],
          attributes,
        )
      )
    if opcode in ('fusion', 'call', 'async-start'):
      return sum(map(of, _CALLS.findall(attributes)), Count())
    if opcode == 'custom-call' and 'tpu_custom_call' in attributes:
      return Count(kernels=1)
    return Count()

  return of(entry)


def _trips(start, attributes, bodies, lines):
  """How often a loop runs; None where that is not plain to see.

  CPUs and GPUs say it. TPUs leave a counter that goes by a fixed step from one
  constant to another.
  """
  known = _TRIPS.search(attributes)
  if known:
    return int(known[1])

  def read(name):
    """Opcode, operands and attributes of what makes a value."""
    line = lines[name]
    match = _OPCODE.search(line)
    operands, more = _split(line[match.end() :])
    if match[1] in ('copy', 'bitcast', 'convert'):
      return read(operands[0])
    if match[1] == 'constant':
      operands = line[match.end() : line.index(')', match.end())]
    return match[1], operands, more

  def number(name):
    opcode, value, _ = read(name)
    return int(value) if opcode == 'constant' and value.isdigit() else None

  condition = re.search(r'condition=%?([\w.\-]+)', attributes)[1]
  opcode, operands, more = read(bodies[condition][-1][0])
  if opcode != 'compare' or 'direction=LT' not in more:
    return None
  counter, stop = read(operands[0]), number(operands[1])
  if counter[0] != 'get-tuple-element' or stop is None:
    return None
  index = int(re.search(r'index=(\d+)', counter[2])[1])
  first = number(read(start)[1][index])
  body = _CALLS.search(attributes)[1]
  opcode, operands, _ = read(read(bodies[body][-1][0])[1][index])
  steps = [number(name) for name in operands] if opcode == 'add' else []
  step = next((n for n in steps if n), None)
  return step and first is not None and -(-(stop - first) // step) or None


def _computations(text):
  """{name: [(instruction, what is behind its =), ...]}; the entry's name."""
  bodies, entry, body = {}, None, None
  for line in text.splitlines():
    opening = _OPENING.match(line)
    if opening:
      body = bodies[opening[2]] = []
      entry = opening[2] if opening[1] else entry
    elif body is not None:
      found = _LINE.match(line)
      if found and _OPCODE.search(found[2]):
        body.append(found.groups())
  return bodies, entry


def _split(rest):
  """Names of operands, and the attributes behind them."""
  depth, end = 1, 0
  while depth:
    depth += {'(': 1, ')': -1}.get(rest[end], 0)
    end += 1
  end -= 1
  return re.findall(r'%([\w.\-]+)', rest[:end]), rest[end + 1 :]


def _arrays(type_):
  """[(bytes of an element, [length of each axis]), ...]."""
  found = []
  for name, lengths in _ARRAY.findall(type_):
    bits = re.search(r'\d+', name)
    size = int(bits[0]) / 8 if bits else name == 'pred'
    found.append((size, [int(n) for n in lengths.split(',') if n]))
  return found


def _bytes(type_):
  return sum(size * math.prod(shape) for size, shape in _arrays(type_))


def _elements(type_):
  return sum(math.prod(shape) for _, shape in _arrays(type_)[:1])


def _sent(kind, size, n):
  return {
    'all-gather': size * (n - 1),
    'all-reduce': 2 * size * (n - 1) / n,
    'collective-permute': size,
  }.get(kind, size * (n - 1) / n)


def _contracted(left, attributes):
  """Terms in each sum of a `dot`."""
  ((_, shape),) = _arrays(left)[:1]
  axes = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', attributes)[1]
  return math.prod(shape[int(a)] for a in axes.split(',') if a)


def _convolved(left, right, out, attributes):
  """Multiply-adds of a `convolution`, which is how TPUs write products.

  Axes of a batch of products are axes of space there, padded or dilated such
  that most taps of the window meet nothing: only those that do not count.
  """
  labels = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', attributes).groups()
  left, right, out = (
    dict(zip(label, _arrays(type_)[0][1]))
    for label, type_ in zip(labels, (left, right, out))
  )
  window = re.search(r'window=\{([^}]*)\}', attributes)
  given = dict(re.findall(r'(\w+)=(\S+)', window[1] if window else ''))
  of = lambda key, axis, default: (
    given[key].split('x')[axis] if key in given else default
  )
  macs = out['b'] * out['f'] * right['i']
  for label in (l for l in out if l.isdigit()):
    axis = int(label)
    stride, holes, apart = (
      int(of(key, axis, 1)) for key in ('stride', 'lhs_dilate', 'rhs_dilate')
    )
    before = int(of('pad', axis, '0_0').split('_')[0])
    meets = (
      np.arange(out[label])[:, None] * stride
      + np.arange(right[label]) * apart
      - before
    )
    macs *= int(
      np.sum(
        (meets >= 0)
        & (meets % holes == 0)
        & (meets <= (left[label] - 1) * holes)
      )
    )
  return macs
