"""What a Hugging Face folder holds, its weights unread."""

import dataclasses
import pathlib
from typing import Any

from visor_jax.convert import safetensors
from visor_jax.convert import visor_folder
from visor_jax.convert import visor_tensors
from visor_jax.convert import weights
from visor_jax.families import family as family_lib
from visor_jax.families import table as families
from visor_jax.spec import sizes


@dataclasses.dataclass(frozen=True)
class Contents:
  """Names of tensors are as they are written, see convert/tensors.py.

  Attributes:
    folder: where the files are.
    family: of the base model.
    config: config.json of the base as transformers has it.
    size: of the base model.
    base: {name: tensor} that the parameters are read from.
    unused: {name: tensor} of those that are only kept.
    visor: {name: tensor} of VISOR's own.
    spelled: {name: what the folder calls it}.
  """

  folder: pathlib.Path
  family: family_lib.Family
  config: dict[str, Any]
  size: sizes.Size
  base: dict[str, safetensors.Tensor]
  unused: dict[str, safetensors.Tensor]
  visor: dict[str, safetensors.Tensor]
  spelled: dict[str, str]

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
  family = families.of_folder(folder)
  known, table = family.read_config(folder), family.tensors()
  files, visor = visor_tensors.read(folder)
  tensors = weights.rename(table, files, folder)
  spelled = {table.written(name): name for name in files}
  size = weights.settle(table, known.size, tensors)
  unused = {
    name: tensor
    for name, tensor in tensors.items()
    if table.is_unused(name, size, known.tower_layers)
  }
  base = {
    name: tensor for name, tensor in tensors.items() if name not in unused
  }
  weights.match(table, size, base, folder)
  config = visor_folder.base_config(known.config)
  return Contents(folder, family, config, size, base, unused, visor, spelled)
