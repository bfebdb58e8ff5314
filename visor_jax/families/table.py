"""The families of base models; a line each."""

from collections.abc import Iterable
from collections.abc import Mapping
import pathlib

from visor_jax.families import family
from visor_jax.families.fastvlm import record as fastvlm
from visor_jax.families.llava_onevision import record as llava_onevision
from visor_jax.families.qwen2_vl import record as qwen2_vl
from visor_jax.runtime import json_fields
from visor_jax.spec import sizes

FAMILIES: dict[str, family.Family] = {
  'llava_onevision': llava_onevision.FAMILY,
  'fastvlm': fastvlm.FAMILY,
  'qwen2_vl': qwen2_vl.FAMILY,
}
DEFAULT = 'llava_onevision'


def named(name: str) -> family.Family:
  """The family of that name.

  Raises:
    ValueError: there is none, with those that there are.
  """
  if name not in FAMILIES:
    raise ValueError(f'family "{name}" is not one of {", ".join(FAMILIES)}')
  return FAMILIES[name]


def named_size(
  name: str, others: Mapping[str, sizes.Size]
) -> tuple[str, sizes.Size]:
  """The size of that name, and the name of its family.

  Args:
    name: as in config.model.size.
    others: sizes of the default family that have names elsewhere.

  Raises:
    ValueError: there is none, with those that there are.
  """
  if name in others:
    return DEFAULT, others[name]
  for kind in FAMILIES.values():
    if name in kind.sizes:
      return kind.name, kind.sizes[name]
  raise ValueError(
    f'model.size is "{name}"; sizes are {sorted(size_names(others))}'
  )


def size_names(others: Iterable[str]) -> list[str]:
  """All names of sizes; arguments as of `named_size`."""
  return [*others, *(name for f in FAMILIES.values() for name in f.sizes)]


def of_folder(folder: pathlib.Path | str) -> family.Family:
  """The family of a checkpoint's folder, as its config.json says.

  Raises:
    ValueError: there is no config.json, or it is of no family.
  """
  path = pathlib.Path(folder) / 'config.json'
  if not path.exists():
    raise ValueError(
      f'{path} is missing: --src is a folder that transformers '
      'can read, or the name of one on the hub'
    )
  config = json_fields.read(path)
  # A folder that runs VISOR says what its base is.
  base = config.fields('visor').fields('base')
  config = base if base.values else config
  model_type = config.text('model_type', '')
  architectures = config.strings('architectures')
  for kind in FAMILIES.values():
    if {model_type, *architectures} & set(kind.model_types):
      return kind
  known = ', '.join(kind for f in FAMILIES.values() for kind in f.model_types)
  raise ValueError(
    f'{path} is of {json_fields.shortened(architectures)} (model_type '
    f'{json_fields.shortened(model_type)}); what can be imported is {known}'
  )
