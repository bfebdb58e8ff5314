"""The text of a compiled program, taken apart."""

import collections
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
import re

_OPENING = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\{$')
_LINE = re.compile(r'^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$')
_OPCODE = re.compile(r'(?:^|\s)([a-z][a-z0-9\-]*)\(')
_ARRAY = re.compile(r'([a-z]+[0-9]*[a-z0-9]*)\[([0-9,]*)\]')
_NAME = re.compile(r'%([\w.\-]+)')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """`name = type opcode(arguments), attributes`.

  Attributes:
    name: unique in the program.
    type: of its result: arrays, in the order of a tuple.
    opcode: what it does.
    arguments: what stands in its parentheses.
    attributes: what stands behind them.
  """

  name: str
  type: str
  opcode: str
  arguments: str
  attributes: str

  @property
  def operands(self) -> list[str]:
    """Names of the instructions whose results it takes."""
    return _NAME.findall(self.arguments)


@dataclasses.dataclass(frozen=True)
class Program:
  """Computations, of which one is run and others are called.

  Attributes:
    computations: {name: instructions, the result last}.
    entry: name of the one that is run.
    instructions: all of them by name.
  """

  computations: Mapping[str, Sequence[Instruction]]
  entry: str
  instructions: Mapping[str, Instruction]


def parse(text: str) -> Program:
  """Takes `jax.stages.Compiled.as_text()` apart."""
  computations: dict[str, list[Instruction]] = collections.defaultdict(list)
  entry, current = '', None
  for line in text.split('\n'):
    opening = _OPENING.match(line)
    if opening:
      current = opening[2]
      entry = current if opening[1] else entry
    elif current:
      instruction = _instruction(line)
      if instruction:
        computations[current].append(instruction)
  return Program(
    computations=dict(computations),
    entry=entry,
    instructions={i.name: i for body in computations.values() for i in body},
  )


def _instruction(line: str) -> Instruction | None:
  """What a line says; None where it is no instruction."""
  parts = _LINE.match(line)
  opcode = _OPCODE.search(parts[2]) if parts else None
  if not (parts and opcode):
    return None
  rest = parts[2][opcode.end() :]
  close = _closing(rest)
  return Instruction(
    name=parts[1],
    type=parts[2][: opcode.start()],
    opcode=opcode[1],
    arguments=rest[:close],
    attributes=rest[close + 1 :],
  )


def _closing(text: str) -> int:
  """Where the parenthesis closes that was opened before the text."""
  depth = 1
  for at, character in enumerate(text):
    depth += {'(': 1, ')': -1}.get(character, 0)
    if not depth:
      return at
  raise ValueError(f'a parenthesis is not closed: {text[:60]!r}')


def find(pattern: str | re.Pattern[str], text: str) -> re.Match[str]:
  """The match of a pattern that must be there.

  Raises:
    ValueError: it is not.
  """
  match = re.search(pattern, text)
  if not match:
    raise ValueError(f'{pattern!r} is not in {text[:60]!r}')
  return match


def arrays(type_: str) -> list[tuple[float, list[int]]]:
  """(bytes of an element, length of each axis) of the arrays of a type."""
  return [
    (_element_bytes(name), [int(n) for n in lengths.split(',') if n])
    for name, lengths in _ARRAY.findall(type_)
  ]


def _element_bytes(name: str) -> float:
  """Of a dtype as 'bf16'; 'pred' takes a byte, a token none."""
  bits = re.search(r'\d+', name)
  return int(bits[0]) / 8 if bits else float(name == 'pred')


def num_bytes(type_: str) -> float:
  """Bytes of all arrays of a type."""
  return sum(size * math.prod(shape) for size, shape in arrays(type_))


def num_elements(type_: str) -> int:
  """Elements of the first array of a type."""
  return sum(math.prod(shape) for _, shape in arrays(type_)[:1])
