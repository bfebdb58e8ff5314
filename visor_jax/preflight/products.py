"""FLOPs of products in a compiled program, and of kernels made of them."""

from collections.abc import Sequence
import math
import re

import numpy as np

from visor_jax.preflight import hlo_text

# As `dot` writes it, and cuBLAS's settings.
_SUMMED = re.compile(r'lhs_contracting_dim(?:s=\{|ensions":\[)([^\]}]*)')


def dot(result: str, left: str, attributes: str) -> int:
  """FLOPs of a `dot`, or a call of cuBLAS, 2 a multiply-add.

  Args:
    result: its type.
    left: type of its first operand.
    attributes: which of that one's axes are summed over.
  """
  ((_, shape),) = hlo_text.arrays(left)[:1]
  axes = hlo_text.find(_SUMMED, attributes)
  terms = math.prod(shape[int(axis)] for axis in re.findall(r'\d+', axes[1]))
  return 2 * hlo_text.num_elements(result) * terms


def attention(results: str, operands: Sequence[str]) -> int | None:
  """FLOPs of a kernel of attention, by its shapes; None where it is none.

  It takes queries [.., heads, head] or [heads, .., head], keys and values, and
  gives what is read: two products. With the gradient among its operands it
  goes backward: scores and their gradient are made again, and each result is a
  product more. Of as many queries as keys half of the pairs count, as where
  each sees those before it.

  Args:
    results: their type.
    operands: the type of each.
  """
  matrices = _matrices(''.join(operands))
  if len(matrices) < 3:
    return None
  query, key, value = matrices[:3]
  if key != value or query[-1] != key[-1]:
    return None
  keys = max(key[:-1])  # more than there are heads, or rows
  backward = [shape for shape in matrices[3:] if shape == query]
  gradients = [shape for shape in _matrices(results) if shape[-1] == query[-1]]
  products = 2 + len(gradients) if backward else 2
  flops = 2 * products * math.prod(query) * keys
  return flops // 2 if max(query[:-1]) == keys else flops


def _matrices(types: str) -> list[list[int]]:
  """Shapes of arrays of floats with three axes or more."""
  return [
    [int(n) for n in lengths.split(',')]
    for lengths in re.findall(r'\b(?:bf|f)\d+\[(\d+(?:,\d+){2,})\]', types)
  ]


def convolution(result: str, left: str, right: str, attributes: str) -> int:
  """FLOPs of a `convolution`, which is how TPUs write products.

  Axes of a batch of products are axes of space there, padded or dilated such
  that most taps of the window meet nothing: only those that do not count.

  Args:
    result: its type.
    left: type of its first operand.
    right: type of the second, the window.
    attributes: which axis is which, and how the window moves.
  """
  labels = hlo_text.find(r'dim_labels=(\w+)_(\w+)->(\w+)', attributes).groups()
  inputs, kernel, outputs = (
    dict(zip(label, hlo_text.arrays(type_)[0][1]))
    for label, type_ in zip(labels, (left, right, result))
  )
  window = re.search(r'window=\{([^}]*)\}', attributes)
  settings = dict(re.findall(r'(\w+)=(\S+)', window[1] if window else ''))
  macs = outputs['b'] * outputs['f'] * kernel['i']
  for label in filter(str.isdecimal, outputs):
    macs *= _taps(
      inputs[label], kernel[label], outputs[label], settings, int(label)
    )
  return 2 * macs


def _taps(
  inputs: int, kernel: int, outputs: int, settings: dict[str, str], axis: int
) -> int:
  """How often the window meets something along an axis.

  Args:
    inputs: length of what the window moves over.
    kernel: length of the window.
    outputs: how many times it stops.
    settings: of the window, each for all axes as '1x2'.
    axis: number of the axis.
  """

  def setting(key: str, default: str) -> str:
    return settings[key].split('x')[axis] if key in settings else default

  stride, holes = int(setting('stride', '1')), int(setting('lhs_dilate', '1'))
  spacing = int(setting('rhs_dilate', '1'))
  padding = int(setting('pad', '0_0').split('_')[0])
  positions = (
    np.arange(outputs)[:, None] * stride + np.arange(kernel) * spacing - padding
  )
  inside = (positions >= 0) & (positions <= (inputs - 1) * holes)
  return int(np.sum(inside & (positions % holes == 0)))
