"""What a compiled program takes of a device's memory."""

from typing import Any

import jax


def held(compiled: jax.stages.Compiled, platform: str) -> int:
  """Bytes of arguments, outputs and temporaries, on a device.

  Args:
    compiled: the program.
    platform: cpu, gpu or tpu. A TPU's compiler says what is held at the worst
      moment. On CPUs that word leaves out temporaries, on GPUs the holes
      between them, which are allocated as one.
  """
  memory: Any = compiled.memory_analysis()
  if platform == 'tpu':
    return memory.peak_memory_in_bytes
  return (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes  # outputs that take the place of arguments
    + memory.temp_size_in_bytes
  )
