"""A Hugging Face folder that runs VISOR in torch, on transformers alone.

Its config.json is that of the base with an entry `visor` and classes of its
own, whose sources, families/FAMILY/torch/, lie beside it. All tensors are in
model*.safetensors.
"""

from collections.abc import Collection
from collections.abc import Mapping
import pathlib
import shutil
from typing import Any

from visor_jax.families import family
from visor_jax.families import table as families
from visor_jax.runtime import json_fields
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans

MODEL_TYPE = 'visor'
ENTRY = 'visor'  # in config.json: Facts, which a base has not
_BASE = 'base'  # in the entry: what the base's config.json has in these places
_CLASS = 'VisorForConditionalGeneration'
_CLASSES: dict[str, Any] = dict(
  model_type=MODEL_TYPE,
  architectures=[_CLASS],
  auto_map=dict(
    AutoConfig='configuration_visor.VisorConfig',
    AutoModel=f'modeling_visor.{_CLASS}',  # which some programs ask for
    AutoModelForImageTextToText=f'modeling_visor.{_CLASS}',
  ),
)


def check(
  architecture: architecture_lib.Architecture, trained: Collection[str]
) -> None:
  """Whether the sources can run a checkpoint.

  Args:
    architecture: of the checkpoint.
    trained: what has learned beyond the base.

  Raises:
    ValueError: they cannot, and why.
  """
  running = [name for name, x in families.FAMILIES.items() if x.torch]
  for value, known, what in (
    (architecture.family, running, 'its family is'),
    (architecture.cross.module, ('attention',), 'its cross attention is'),
    (architecture.reduction, ('',), 'its token reduction is'),
    (plans.CROSS in trained, (True,), 'VISOR is trained in it:'),
  ):
    if value not in known:
      raise ValueError(
        f'--as=visor: this checkpoint cannot run in torch; {what} {value!r}, '
        f'the sources know {", ".join(map(repr, known))}. An export without '
        'the flag has all of it, of which transformers loads the base'
      )


def config(
  base: Mapping[str, Any], entry: dict[str, Any], sources: family.TorchSources
) -> dict[str, Any]:
  """config.json of the folder.

  Args:
    base: of the base, as transformers has it.
    entry: the checkpoint's Facts, plain values.
    sources: of the family.
  """
  classes = _CLASSES | dict(processor_class=sources.processor)
  replaced = {key: base[key] for key in classes if key in base}
  return {**base, **classes, ENTRY: entry | {_BASE: replaced}}


def is_one(values: Mapping[str, Any]) -> bool:
  """Whether a config.json is of such a folder."""
  return values.get('model_type') == MODEL_TYPE


def base_config(values: Mapping[str, Any]) -> dict[str, Any]:
  """The base's config.json, of such a folder's or of the base itself."""
  if not is_one(values):
    return dict(values)
  entry = json_fields.Fields(values, 'config.json: ').fields(ENTRY)
  replaced = entry.fields(_BASE).values
  return {  # keys in the order that the base has them
    key: replaced.get(key, value)
    for key, value in values.items()
    if key in replaced or key not in (*_CLASSES, 'processor_class')
  }


def write_sources(folder: pathlib.Path, sources: family.TorchSources) -> None:
  """Puts the torch sources beside config.json."""
  for source in sources.folder.glob('*.py'):
    shutil.copyfile(source, folder / source.name)
