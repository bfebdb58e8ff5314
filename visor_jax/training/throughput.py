"""What a stage does a second, and how much of it is useful.

Model FLOPs utilisation (MFU) is what the model needs, over what its devices
could do in the same time:

  sum over conversations of a * (vision + connector) + b * (decoder + head)
  -----------------------------------------------------------------------
               seconds * devices * peak FLOPs of a device

The sum has nominal FLOPs (flops.NOMINAL, with logits for all text) under the
plan that ran, without padding and without what is computed twice to save
memory. a and b are `Stage.passes`: 3 for a forward pass and a backward pass
with all gradients, 2 where gradients only pass through, 1 for forward only.
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools
import resource
import time

import jax
import numpy as np

from visor_jax.flops import accounting
from visor_jax.flops import cost as flops
from visor_jax.models import visor
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import chips
from visor_jax.spec import plan as plans

# What is useful of a pass.
ACCOUNTING = dataclasses.replace(accounting.NOMINAL, name='model', head='all')


class Throughput:
  """Counts what batches hold, on the host.

  Rates begin with the second `take`: before the first is compiling.

  Args:
    model: that runs.
    passes: (a, b) above; None leaves MFU out.
    share: of a batch's rows that this process sees; the others' are as full.
    peak: FLOPs a second of a device; None for that of its data sheet.
  """

  def __init__(
    self,
    model: visor.Visor,
    passes: tuple[int, int] | None,
    share: float = 1.0,
    peak: float | None = None,
  ):
    self._architecture = model.architecture
    self._passes, self._share = passes, share
    self._peak = peak or chips.peak(jax.devices()[0].device_kind)
    self._counts: collections.Counter[str] = collections.Counter()
    self._since: float | None = None  # when `take` was last called

  def add(
    self,
    batch: batch_lib.Batch,
    plan: plans.Plan | None,
    reductions: Sequence[str] = ('',),
  ) -> None:
    """Counts a step.

    Args:
      batch: rows of this process, numpy arrays.
      plan: that the step runs; None for the base model.
      reductions: of the visual tokens, '' for none; with each of them the
        step goes through the model.
    """
    lengths = [
      (visual[segment], text[segment])
      for text, visual in zip(
        map(_lengths, batch.text_segment), map(_lengths, batch.visual_segment)
      )
      for segment in text
    ]
    self._counts.update(
      examples=len(lengths),
      visual=sum(visual for visual, _ in lengths),
      text=sum(text for _, text in lengths),
      visual_slots=batch.visual_segment.size,
      text_slots=batch.text_segment.size,
    )
    if self._peak and self._passes:
      vision_passes, decoder_passes = self._passes
      vision, decoder = self._pass_flops(batch, lengths, plan, reductions)
      self._counts['flops'] += vision_passes * vision + decoder_passes * decoder

  def add_features(self, count: int) -> None:
    """Counts a step on the kept features of so many prompts."""
    self._counts.update(examples=count)

  def _pass_flops(
    self,
    batch: batch_lib.Batch,
    lengths: Sequence[tuple[int, int]],
    plan: plans.Plan | None,
    reductions: Sequence[str],
  ) -> tuple[int, int]:
    """Of a forward pass: vision and connector, decoder and head.

    Args:
      batch: rows of this process.
      lengths: (visual, text) tokens of each conversation in it.
      plan: that the step runs.
      reductions: that it goes through the model with.
    """
    vision = 0
    for images in batch.images(self._architecture.size.vision.patches):
      for tiles in images:
        image = _cost(self._architecture.base, None, 0, 1, tiles)
        vision += len(reductions) * (image.vision + image.connector)
    decoder = 0
    for reduction in reductions:
      model = dataclasses.replace(self._architecture, reduction=reduction)
      decoder += sum(_cost(model, plan, *n).llm_prefill for n in lengths)
    return vision, decoder

  def take(self) -> tuple[dict[str, float], dict[str, float]]:
    """Of the steps since this was last asked.

    Returns:
      text_padding and visual_padding, shares of the slots, where there were
      any; and rates of all processes: examples/s (conversations), tokens/s (of
      text and image, without padding), mfu (0 to 1, where the devices' peak is
      known), memory_gb (see `memory`).
    """
    count, now = self._counts, time.monotonic()
    padding = {
      f'{kind}_padding': round(1 - count[kind] / count[f'{kind}_slots'], 4)
      for kind in ('text', 'visual')
      if count[f'{kind}_slots']
    }
    rates = {}
    if self._since is not None:
      share = self._share * max(now - self._since, 1e-9)
      rates['examples/s'] = _rounded(count['examples'] / share)
      if padding:
        rates['tokens/s'] = _rounded((count['text'] + count['visual']) / share)
      if self._peak and self._passes:
        rates['mfu'] = _rounded(
          count['flops'] / share / self._peak / jax.device_count()
        )
    self._counts, self._since = collections.Counter(), now
    return padding, rates | {'memory_gb': _rounded(memory() / 1e9)}


@functools.lru_cache(maxsize=2**16)
def _cost(
  architecture: architecture_lib.Architecture,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  tiles: int = 0,
) -> flops.Cost:
  return flops.cost(architecture, plan, visual, text, ACCOUNTING, tiles=tiles)


def _rounded(x: float) -> float:
  """To four digits."""
  return float(f'{x:.4g}')


def _lengths(segments: np.ndarray) -> collections.Counter[int]:
  """{segment: slots} of a row, padding left out; 0 for what is not there."""
  numbers, counts = np.unique(segments, return_counts=True)
  lengths = collections.Counter(dict(zip(numbers.tolist(), counts.tolist())))
  del lengths[0]
  return lengths


def memory() -> int:
  """Bytes at most so far, of the fullest device here; on CPU of the process."""
  peaks = [
    (device.memory_stats() or {}).get('peak_bytes_in_use', 0)
    for device in jax.local_devices()
  ]
  return max(peaks) or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
