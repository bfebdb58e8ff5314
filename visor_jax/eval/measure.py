"""Time and memory that answers take, on one real batch.

Compiled, warmed and blocked; medians. Neither preparing prompts nor moving
them to the device is in it.
"""

from collections.abc import Callable
from collections.abc import Sequence
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np

from visor_jax.eval import generate
from visor_jax.eval import questions as questions_lib
from visor_jax.eval import run
from visor_jax.eval import sampling as sampling_lib
from visor_jax.runtime import checksums
from visor_jax.runtime import claim
from visor_jax.runtime import cluster
from visor_jax.runtime import paths
from visor_jax.runtime import program_memory
from visor_jax.spec import plan as plans
from visor_jax.training import throughput

NEW, TIMES = 16, 5  # tokens behind the first; runs that a median is of

Measured = dict[str, Any]  # see `measure`


def measure(
  under_test: run.ModelUnderTest,
  stream: str,
  selection: plans.Selection,
  answers: Sequence[run.Answer],
  folder: pathlib.Path | str,
  size: int,
) -> Measured:
  """What a selection takes; measured once and kept in a file.

  Args:
    under_test: who answers.
    stream: whose first questions are asked.
    selection: that answered.
    answers: what it answered; they say how often a router took which plan.
    folder: where the answers are kept.
    size: of the batch.

  Returns:
    first_token_s: from a batch on the device to its first tokens; of a router
      its own work and the mean of what it chose, batches of one plan,
    tokens_per_s: of all rows, behind the first token,
    first_token_range_s, tokens_per_s_range: least and most of all runs,
    peak_bytes: on a device, of the program that needs most, as compiled:
      parameters, inputs, outputs and temporaries,
    process_bytes: the most held since the process began, `of` the 'device' or,
      where it does not say, of the 'host' process,
    batch, device, devices: of what.
  """
  path = paths.parse(folder) / str(selection) / 'measured.json'
  measured, *_ = cluster.allgather_json(
    checksums.intact(path, lambda: checksums.read_object(path))
    if cluster.is_primary()
    else None
  )
  if measured is None:
    measured = _measure(under_test, stream, selection, answers, size)
    claim.write_shared(path, json.dumps(measured))
  return measured


def _measure(
  under_test: run.ModelUnderTest,
  stream: str,
  selection: plans.Selection,
  answers: Sequence[run.Answer],
  size: int,
) -> Measured:
  model, params = under_test.model, under_test.params
  (questions,) = questions_lib.batches(
    under_test.suite,
    stream,
    [answer['index'] for answer in answers[:size]],
    size,
    under_test.mesh,
  )
  batch = under_test.shard(questions)
  # Nothing ends an answer: all tokens are generated.
  sampling = sampling_lib.Sampling(1 + NEW, (-1,))
  key, timer = jax.random.key(0), Timer()
  first_token = np.zeros(TIMES)  # by rising time, as what it is the sum of
  read: Callable = generate.prefill
  arguments: tuple = (model, params, batch)
  if selection.selector == 'router':
    first_token = timer(generate.route, *arguments)
    _, routed = generate.route(*arguments)
    read, arguments = generate.resume, (model, params, routed, batch)
  chosen = [
    None if row['plan'] is None else tuple(map(bool, row['plan']))
    for row in answers
  ]
  decode = np.zeros(TIMES)
  for plan in dict.fromkeys(chosen):
    share = chosen.count(plan) / len(chosen)
    first_token += share * timer(read, *arguments, plan)
    prompt = read(*arguments, plan)
    logits, state = prompt
    growing = generate.begin(model, params, batch, logits, sampling, key)
    decode += share * timer(
      generate.extend,
      model,
      params,
      state,
      plan,
      sampling,
      growing,
      sampling.tokens,
    )
  device = jax.local_devices()[0]
  speed = size * NEW / decode[::-1]
  return dict(
    first_token_s=float(np.median(first_token)),
    first_token_range_s=first_token[[0, -1]].tolist(),
    tokens_per_s=float(np.median(speed)),
    tokens_per_s_range=speed[[0, -1]].tolist(),
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

  def __init__(self) -> None:
    self.peak = 0

  def __call__(self, function: Any, *args: Any) -> np.ndarray:
    """Seconds of a jitted function, blocked, once it is warm.

    Returns:
      float [TIMES], rising.
    """
    jax.block_until_ready(function(*args))
    seconds = []
    for _ in range(TIMES):
      start = time.perf_counter()
      jax.block_until_ready(function(*args))
      seconds.append(time.perf_counter() - start)
    # The program is there already: nothing is compiled again.
    compiled = function.lower(*args).compile()
    self.peak = max(
      self.peak, program_memory.held(compiled, jax.default_backend())
    )
    return np.sort(seconds)
