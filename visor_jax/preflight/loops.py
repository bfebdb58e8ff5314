"""How often a loop of a compiled program runs."""

import re

from visor_jax.preflight import hlo_text

_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r'condition=%?([\w.\-]+)')
_BODY = re.compile(r'body=%?([\w.\-]+)')
_INDEX = re.compile(r'index=(\d+)')

_SAME_VALUE = ('copy', 'bitcast', 'convert')


def trips(program: hlo_text.Program, loop: hlo_text.Instruction) -> int | None:
  """How often a `while` runs; None where that is not plain to see.

  CPUs and GPUs say it. TPUs leave a counter that goes by a fixed step from one
  constant to another.
  """
  known = _TRIPS.search(loop.attributes)
  if known:
    return int(known[1])
  condition = hlo_text.find(_CONDITION, loop.attributes)[1]
  compare = _maker(program, program.computations[condition][-1].name)
  if compare.opcode != 'compare' or 'direction=LT' not in compare.attributes:
    return None
  counter, limit = compare.operands
  element, stop = _maker(program, counter), _constant(program, limit)
  if element.opcode != 'get-tuple-element' or stop is None:
    return None
  index = int(hlo_text.find(_INDEX, element.attributes)[1])
  start = _maker(program, loop.operands[0])
  first = _constant(program, start.operands[index])
  step = _step(program, hlo_text.find(_BODY, loop.attributes)[1], index)
  if first is None or not step:
    return None
  return -(-(stop - first) // step) or None


def _step(program: hlo_text.Program, body: str, index: int) -> int | None:
  """What a turn adds to an element of the loop's tuple."""
  result = _maker(program, program.computations[body][-1].name)
  addition = _maker(program, result.operands[index])
  if addition.opcode != 'add':
    return None
  constants = (_constant(program, name) for name in addition.operands)
  return next((n for n in constants if n), None)


def _maker(program: hlo_text.Program, name: str) -> hlo_text.Instruction:
  """The instruction that makes a value, past those that only pass it on."""
  instruction = program.instructions[name]
  if instruction.opcode in _SAME_VALUE:
    return _maker(program, instruction.operands[0])
  return instruction


def _constant(program: hlo_text.Program, name: str) -> int | None:
  """A value that is a whole number; None where it is not."""
  maker = _maker(program, name)
  is_number = maker.opcode == 'constant' and maker.arguments.isdecimal()
  return int(maker.arguments) if is_number else None
