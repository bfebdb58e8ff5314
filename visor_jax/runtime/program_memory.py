"""What a compiled program takes of a device's memory."""

from typing import Any

import jax


def held(compiled: jax.stages.Compiled) -> int:
  """Bytes of arguments, outputs and temporaries, on a device.

  The compiler's peak is all of it on TPUs. On CPUs it leaves out temporaries,
  and on GPUs the holes between those that are alive, though they are allocated
  in one piece.
  """
  memory: Any = compiled.memory_analysis()
  allocated = (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes  # outputs that take the place of arguments
    + memory.temp_size_in_bytes
  )
  return max(memory.peak_memory_in_bytes, allocated)
