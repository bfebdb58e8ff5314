"""What a stage does a second, how much of it is useful, and a look inside.

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
import dataclasses
import functools
import resource
import time

import jax
import numpy as np

from visor_jax.flops import accounting
from visor_jax.flops import cost as flops
from visor_jax.spec import chips

_ACCOUNTING = dataclasses.replace(accounting.NOMINAL, name='model', head='all')


class Throughput:
  """Counts what batches hold, on the host.

  Rates begin with the second `take`: before the first is compiling.

  Args:
    model: a models.visor.Visor.
    passes: (a, b) above; None leaves MFU out.
    share: of a batch's rows that this process sees; the others' are as full.
    peak: FLOPs a second of a device; None for that of its data sheet.
  """

  def __init__(
    self, model, passes, share: float = 1.0, peak: float | None = None
  ):
    self._passes, self._share = passes, share
    self._peak = peak or chips.peak(jax.devices()[0].device_kind)
    self._patches = model.size.vision.patches
    self._counts, self._since = collections.Counter(), None
    self._architecture = model.architecture

  def add(self, batch, plan, reductions=('',)) -> None:
    """Counts a step.

    Args:
      batch: a Batch of numpy arrays, the rows of this process.
      plan: a tuple, or None for the base model.
      reductions: of the visual tokens, '' for none; with each of them the
        step goes through the model.
    """
    sizes = [
      (visual[segment], text[segment])
      for text, visual in zip(
        map(_lengths, batch.text_segment), map(_lengths, batch.visual_segment)
      )
      for segment in text
    ]
    self._counts.update(
      examples=len(sizes),
      visual=sum(v for v, _ in sizes),
      text=sum(t for _, t in sizes),
      visual_slots=batch.visual_segment.size,
      text_slots=batch.text_segment.size,
    )
    if self._peak and self._passes:
      sees, says = self._passes
      tile = _cost(self._architecture.base, None, 0, 1, 1)
      tiles = int(batch.used(self._patches).sum())
      vision = len(reductions) * tiles * (tile.vision + tile.connector)
      language = 0
      for reduction in reductions:
        model = dataclasses.replace(self._architecture, reduction=reduction)
        language += sum(_cost(model, plan, *size).llm_prefill for size in sizes)
      self._counts['flops'] += sees * vision + says * language

  def take(self) -> tuple[dict[str, float], dict[str, float]]:
    """Of the steps since this was last asked.

    Returns:
      text_padding and visual_padding, shares of the slots; and rates of all
      processes: examples/s (conversations), tokens/s (of text and image,
      without padding), mfu (0 to 1, where the devices' peak is known),
      memory_gb (see `memory`).
    """
    count, now = self._counts, time.monotonic()
    padding = {
      f'{kind}_padding': round(
        1 - count[kind] / max(count[f'{kind}_slots'], 1), 4
      )
      for kind in ('text', 'visual')
    }
    rates = {}
    if self._since is not None:
      share = self._share * max(now - self._since, 1e-9)
      rates['examples/s'] = _short(count['examples'] / share)
      rates['tokens/s'] = _short((count['text'] + count['visual']) / share)
      if self._peak and self._passes:
        rates['mfu'] = _short(
          count['flops'] / share / self._peak / jax.device_count()
        )
    self._counts, self._since = collections.Counter(), now
    return padding, rates | {'memory_gb': _short(memory() / 1e9)}


@functools.lru_cache(maxsize=2**16)
def _cost(architecture, plan, visual, text, tiles=0):
  return flops.cost(architecture, plan, visual, text, _ACCOUNTING, tiles=tiles)


def _short(x):
  return float(f'{x:.4g}')


def _lengths(segments):
  """{segment: slots} of a row, padding left out; 0 for what is not there."""
  found = collections.Counter(
    dict(zip(*map(np.ndarray.tolist, np.unique(segments, return_counts=True))))
  )
  del found[0]
  return found


def memory() -> int:
  """Bytes at most so far, of the fullest device here; on CPU of the process."""
  peaks = [
    (d.memory_stats() or {}).get('peak_bytes_in_use', 0)
    for d in jax.local_devices()
  ]
  return max(peaks) or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Trace:
  """A profiler trace of some steps, for TensorBoard, xprof or Perfetto.

  Args:
    folder: to write into.
    steps: (first, last) of those to trace, counted from 0; () for none.
  """

  def __init__(self, folder, steps=()):
    self._folder, self._steps, self._on = folder, tuple(steps), False

  def __enter__(self):
    return self

  def __exit__(self, *exc):
    self._stop()

  def step(self, number: int, block) -> None:
    """Before each step; `block()` returns when those before it are done."""
    if self._steps and self._on and number > self._steps[1]:
      block()
      self._stop()
    elif (
      self._steps
      and not self._on
      and (self._steps[0] <= number <= self._steps[1])
    ):
      block()
      jax.profiler.start_trace(self._folder)
      self._on = True

  def _stop(self):
    if self._on:
      jax.profiler.stop_trace()
      self._on, self._steps = False, ()
