"""Time and memory that answers take, on one real batch.

Compiled, warmed and blocked; medians. Neither preparing prompts nor moving
them to the device is in it.
"""

import json
import pathlib
import time

import jax
import numpy as np

from visor_jax.data.processing import packing
from visor_jax.eval import generate
from visor_jax.eval import run
from visor_jax.runtime import claim
from visor_jax.runtime import cluster
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import plan as plans
from visor_jax.training import throughput

NEW, TIMES = 16, 3  # tokens behind the first; runs that a median is of


def measure(
  subject: run.ModelUnderTest,
  stream: str,
  selection: plans.Selection,
  rows,
  folder,
  size: int,
) -> dict:
  """What a selection takes; measured once and kept in a file.

  Args:
    subject: who answers.
    stream: whose first questions are asked.
    selection: that answered.
    rows: its answers, see run.answers; they say how often a router took which
      plan.
    folder: where the answers are kept.
    size: of the batch.

  Returns:
    first_token_s: from a batch on the device to its first tokens; of a router
      its own work and the mean of what it chose, batches of one plan,
    tokens_per_s: of all rows, behind the first token,
    peak_bytes: on a device, of the program that needs most, as compiled:
      parameters, inputs, outputs and temporaries,
    process_bytes: the most held since the process began, `of` the 'device' or,
      where it does not say, of the 'host' process,
    batch, device, devices: of what.
  """
  path = pathlib.Path(folder) / str(selection) / 'measured.json'
  kept, *_ = cluster.allgather_json(
    json.loads(path.read_text())
    if cluster.is_primary() and path.exists()
    else None
  )
  if kept is None:
    kept = _measure(subject, stream, selection, rows, size)
    claim.write_shared(path, json.dumps(kept))
  return kept


def _measure(subject, stream, selection, rows, size):
  model, params = subject.model, subject.params
  made = [
    subject.suite.prompt(stream, i)[0]
    for i in mesh_lib.local_rows(size, subject.mesh)
  ]
  batch = run.shard_prompts(subject, packing.stack(made))
  sampling = generate.Sampling(1 + NEW, (-1,))  # no end: all tokens are made
  key, timer = jax.random.key(0), Timer()
  first = 0.0
  begin, start = generate.prefill, (model, params, batch)
  if selection.selector == 'router':
    first = timer(generate.route, model, params, batch)
    _, routed = generate.route(model, params, batch)
    begin, start = generate.resume, (model, params, routed, batch)
  chosen = [
    None if r['plan'] is None else tuple(map(bool, r['plan'])) for r in rows
  ]
  decode = 0.0
  for plan in dict.fromkeys(chosen):
    share = chosen.count(plan) / len(chosen)
    first += share * timer(begin, *start, plan)
    decode += share * timer(
      generate.decode, model, params, *begin(*start, plan), plan, sampling, key
    )
  device = jax.local_devices()[0]
  return dict(
    first_token_s=first,
    tokens_per_s=size * NEW / decode,
    peak_bytes=timer.peak,
    process_bytes=throughput.memory(),
    of='device' if device.memory_stats() else 'host',
    batch=size,
    device=device.device_kind,
    devices=len(jax.devices()),
  )


class Timer:
  """Calls compiled functions.

  Attributes:
    peak: bytes on a device of the program that needed most.
  """

  def __init__(self):
    self.peak = 0

  def __call__(self, function, *args) -> float:
    """Median seconds of a jitted function, blocked, once it is warm."""
    jax.block_until_ready(function(*args))
    spent = []
    for _ in range(TIMES):
      start = time.perf_counter()
      jax.block_until_ready(function(*args))
      spent.append(time.perf_counter() - start)
    # The program is there already: nothing is compiled again.
    memory = function.lower(*args).compile().memory_analysis()
    self.peak = max(self.peak, memory.peak_memory_in_bytes)
    return float(np.median(spent))
