"""FLOPs of products in a compiled program."""

import re

import numpy as np

from visor_jax.preflight import hlo_text


def dot(result: str, left: str, attributes: str) -> int:
  """FLOPs of a `dot`, 2 a multiply-add.

  Args:
    result: its type.
    left: type of its first operand.
    attributes: which of that one's axes are summed over.
  """
  ((_, shape),) = hlo_text.arrays(left)[:1]
  axes = hlo_text.find(r'lhs_contracting_dims=\{([\d,]*)\}', attributes)[1]
  terms = 1
  for axis in filter(None, axes.split(',')):
    terms *= shape[int(axis)]
  return 2 * hlo_text.num_elements(result) * terms


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
  for label in filter(str.isdigit, outputs):
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
