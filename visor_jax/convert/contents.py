"""What a Hugging Face folder of LLaVA-OneVision holds, its weights unread."""

import dataclasses
import pathlib
from typing import Any

from visor_jax.convert import config as config_lib
from visor_jax.convert import names
from visor_jax.convert import safetensors
from visor_jax.convert import weights
from visor_jax.spec import sizes


@dataclasses.dataclass(frozen=True)
class Contents:
  """Names of tensors are as written today, see names.SPELLINGS.

  Attributes:
    folder: where the files are.
    config: config.json as transformers has it.
    size: of the base model.
    base: {name: tensor} that the parameters are read from.
    unused: {name: tensor} of those that are only kept.
  """

  folder: pathlib.Path
  config: dict[str, Any]
  size: sizes.Size
  base: dict[str, safetensors.Tensor]
  unused: dict[str, safetensors.Tensor]

  @property
  def dtypes(self) -> dict[str, str]:
    """{name: dtype} of the base's tensors, in safetensors' words."""
    return {
      name: safetensors.NAMES[tensor.dtype]
      for name, tensor in self.base.items()
    }


def read(folder: pathlib.Path) -> Contents:
  """Reads configs and headers.

  Raises:
    ValueError: it is of another architecture, not whole, or tensors and
      parameters do not match, which names all that have no counterpart.
  """
  known = config_lib.read(folder)
  tensors = weights.rename(safetensors.folder(folder), folder)
  size = weights.settle(known.size, tensors)
  unused = {
    name: tensor
    for name, tensor in tensors.items()
    if names.unused(name, size, known.vision_layers)
  }
  base = {
    name: tensor for name, tensor in tensors.items() if name not in unused
  }
  weights.match(size, base, folder)
  return Contents(folder, known.config, size, base, unused)
