"""Bytes that an instruction of a compiled program moves to and from memory.

An operand that fits the caches counts as often as it is read, so this is what
kernels ask for and not what memory serves. What a fusion keeps to itself, what
stays on the chip of a TPU, and what is only renamed count nothing; of an array
that is sliced or updated in place, only the slice.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import re

from visor_jax.preflight import hlo_text

# They move nothing, or what they run is counted by itself.
_FREE = frozenset(
  (
    'after-all',
    'async-done',
    'async-start',
    'async-update',
    'bitcast',
    'call',
    'conditional',
    'constant',
    'get-tuple-element',
    'opt-barrier',
    'parameter',
    'partition-id',
    'replica-id',
    'tuple',
    'while',
  )
)
# Of these the first operand is read in parts, as large as the result.
_SLICES = ('dynamic-slice', 'gather', 'slice')
# An array of a TPU, tiled, in a memory of its own: bf16[8]{0:T(8)S(1)}.
_ON_CHIP = re.compile(r'\w+\[[\d,]*\]\{[^}]*T\([^}]*S\([1-9]\)\}')
# cuBLAS's, behind its result.
_WORKSPACE = re.compile(r', s8\[\d+\]\{0\}\)')
_CALLED = re.compile(r'calls=%?([\w.\-]+)')

Body = Sequence[hlo_text.Instruction]


def moved(
  program: hlo_text.Program, instruction: hlo_text.Instruction
) -> float:
  """Bytes read and written by one run of an instruction.

  Args:
    program: that it is part of.
    instruction: that stands in no fusion.
  """
  opcode = instruction.opcode
  if opcode in _FREE:
    return 0.0
  if opcode == 'fusion':
    called = hlo_text.find(_CALLED, instruction.attributes)[1]
    return _fusion(program, program.computations[called])
  operands = [program.instructions[name] for name in instruction.operands]
  if opcode in _SLICES:
    return 2 * _bytes(instruction.type)
  if opcode == 'dynamic-update-slice':
    return 2 * _bytes(operands[1].type)
  read = sum(_bytes(operand.type) for operand in operands)
  if opcode.endswith('-start'):  # what it writes is its `-done`'s
    return read
  if opcode.endswith('-done'):
    return _bytes(instruction.type)
  return read + _bytes(_WORKSPACE.sub('', instruction.type))


def _fusion(program: hlo_text.Program, body: Body) -> float:
  parameters = (i for i in body if i.opcode == 'parameter')
  read = sum(_read(body, parameter) for parameter in parameters)
  return read + sum(_written(program, one) for one in _results(program, body))


def _read(body: Body, array: hlo_text.Instruction) -> float:
  """Bytes that a fusion reads of one of its parameters."""
  total = 0.0
  for user in body:
    if array.name not in user.operands:
      continue
    first = user.operands[0] == array.name
    if user.opcode == 'bitcast':
      total += _read(body, user)
    elif first and user.opcode in _SLICES:
      total += _bytes(user.type)
    elif not (first and user.opcode == 'dynamic-update-slice'):
      return _bytes(array.type)
  return min(total, _bytes(array.type))


def _results(
  program: hlo_text.Program, body: Body
) -> Iterator[hlo_text.Instruction]:
  """What a fusion gives back, one or several."""
  root = body[-1]
  if root.opcode != 'tuple':
    yield root
    return
  for name in root.operands:
    yield program.instructions[name]


def _written(program: hlo_text.Program, result: hlo_text.Instruction) -> float:
  """Bytes that a fusion writes of one of its results."""
  maker = result
  while maker.opcode == 'bitcast':
    maker = program.instructions[maker.operands[0]]
  if maker.opcode == 'dynamic-update-slice':
    return _bytes(program.instructions[maker.operands[1]].type)
  return _bytes(result.type)


def _bytes(type_: str) -> float:
  """Of all arrays of a type that lie in the device's memory."""
  return hlo_text.num_bytes(_ON_CHIP.sub('', type_))
