"""Hugging Face folders of the families, in and out."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder
from visor_jax.checkpoint import load
from visor_jax.convert import contents as contents_lib
from visor_jax.convert import hub
from visor_jax.convert import safetensors
from visor_jax.convert import sidecar as sidecar_lib
from visor_jax.convert import visor_folder
from visor_jax.convert import visor_tensors
from visor_jax.convert import weights
from visor_jax.families import table as families
from visor_jax.runtime import console
from visor_jax.runtime import json_fields
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

# What an export is for: transformers and its base, programs that read the
# folder that was imported, or VISOR in transformers.
FORMS = ('transformers', 'imported', 'visor')

_Tensors = dict[str, safetensors.Tensor]


def read(
  src: pathlib.Path | str,
  shardings: Mapping[str, Any] | None = None,
  dtype: str | None = None,
) -> facts_lib.Checkpoint:
  """Reads a Hugging Face folder, one parameter after the other.

  Args:
    src: a folder, or a name on the hub.
    shardings: nested shardings with at least the parameters that the
      checkpoint has; None puts all on the first device.
    dtype: of the parameters; None for that of their tensors, the widest where
      the layers of a stack differ.

  Raises:
    ValueError: it is of another architecture, not whole, or tensors and
      parameters do not match, which names all that have no counterpart.
  """
  src = hub.local(src)
  facts, parts = _parts(src)
  sharding_of = load.placement(shardings)
  tick = _progress('import', (t for layers in parts.values() for t in layers))
  params = {}
  for path, layers in parts.items():
    params[path] = _put(weights.stack(path, layers, dtype), sharding_of(path))
    for layer in layers:
      tick(layer)
  return facts_lib.Checkpoint(param_paths.unflatten(params), facts, src)


def outline(src: pathlib.Path) -> facts_lib.Checkpoint:
  """A folder from its configs and headers: shapes in place of parameters.

  Raises:
    ValueError: as `read` does.
  """
  facts, parts = _parts(src)
  shapes = {path: weights.shape(path, layers) for path, layers in parts.items()}
  return facts_lib.Checkpoint(param_paths.unflatten(shapes), facts, src)


def write(
  out: pathlib.Path | str,
  checkpoint: facts_lib.Checkpoint,
  form: str = 'transformers',
) -> None:
  """Writes a Hugging Face folder.

  The base's tensors get the dtypes that they had when they were read, VISOR's
  own keep theirs.

  Args:
    out: a new folder.
    checkpoint: in memory.
    form: one of FORMS. As 'imported' tensors have the names, and config.json
      the layout, that they had when they were read, else those of transformers;
      as 'visor' sources lie beside them that run plans and router.

  Raises:
    ValueError: the folder is there already, the checkpoint does not come from
      a Hugging Face folder or cannot have this form, or a parameter is missing
      or of another shape.
  """
  if form not in FORMS:
    raise ValueError(f'form is {form!r}, not one of {", ".join(FORMS)}')
  out = folder.require_new(out)
  if checkpoint.processor is None:
    raise ValueError(
      'the checkpoint has no hf/, because it does not come from '
      'a Hugging Face folder: no tokenizer would go with it'
    )
  facts, architecture = checkpoint.facts, checkpoint.facts.architecture
  if form == 'visor':
    visor_folder.check(architecture, facts.trained)
  sidecar = sidecar_lib.read(checkpoint.processor)
  if form == 'imported' and not sidecar.spelled:
    raise ValueError(
      f'{checkpoint.processor} has no {sidecar_lib.SPELLED}, which says how '
      'tensors were called; import the checkpoint again'
    )
  params = param_paths.flatten(checkpoint.params)
  family = families.named(architecture.family)
  base = weights.tensors(
    family.tensors(), architecture.size, params, sidecar.dtypes
  )
  ours = visor_tensors.to_tensors(
    params, architecture.layout.indices(plans.CROSS)
  )
  tick = _progress('export', [*base.values(), *ours.values()])
  out.mkdir(parents=True, exist_ok=True)
  sidecar.copy_files(out)
  config = json.loads((out / 'config.json').read_text())
  if form == 'imported' and visor_folder.is_one(config):
    form = 'visor'
  vocabulary = architecture.size.language.vocabulary
  plain = family.with_vocabulary(sidecar.config, vocabulary)
  tensors = _ticking(base, tick) | sidecar.unused
  ours = _ticking(ours, tick)
  if form == 'visor':
    assert family.torch  # visor_folder.check
    wanted = visor_folder.config(plain, facts.to_json(), family.torch)
    visor_folder.write_sources(out, family.torch)
    tensors |= ours
  else:
    imported = form == 'imported'
    wanted = _with_entry(config if imported else plain, facts)
    if ours:
      safetensors.write(out / visor_tensors.FILE, ours)
    if imported:
      tensors = {sidecar.spelled[name]: t for name, t in tensors.items()}
  if json.loads(json.dumps(wanted)) != config:  # tuples are lists there
    (out / 'config.json').write_text(json.dumps(wanted, indent=2))
  beside = (out / visor_tensors.FILE).exists()
  safetensors.write_folder(out, tensors, alone=not beside)


def _parts(
  src: pathlib.Path,
) -> tuple[facts_lib.Facts, dict[str, list[safetensors.Tensor]]]:
  """What a folder holds, and of every parameter a tensor for each layer."""
  contents = contents_lib.read(src)
  facts, ours = _visor(contents)
  table = contents.family.tensors()
  parts = weights.parts(table, contents.size, contents.base)
  parts |= visor_tensors.to_parts(
    ours, facts.architecture.layout.indices(plans.CROSS)
  )
  return facts, {path: parts[path] for path in parts if facts.holds(path)}


def _put(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )


def _plain(family: str, size: sizes.Size) -> facts_lib.Facts:
  """Of a base that has never met VISOR."""
  layout = plans.base(size.language.depth)
  return facts_lib.Facts(
    architecture_lib.Architecture(size, layout, family=family)
  )


def _visor(
  contents: contents_lib.Contents,
) -> tuple[facts_lib.Facts, _Tensors]:
  """What config.json says of VISOR, and VISOR's own tensors."""
  config = json_fields.read(contents.folder / 'config.json').values
  entry = visor_folder.ENTRY
  if entry not in config:
    if contents.visor:
      raise ValueError(
        f'{contents.folder} has {min(contents.visor)}, but its config.json has '
        f'no entry "{entry}" that says what it is; export it again'
      )
    return _plain(contents.family.name, contents.size), {}
  facts = facts_lib.from_json(config[entry], contents.folder)
  architecture = dataclasses.replace(facts.architecture, size=contents.size)
  facts = dataclasses.replace(facts, architecture=architecture)
  return facts, contents.visor if facts.trained else {}


def _with_entry(
  config: dict[str, Any], facts: facts_lib.Facts
) -> dict[str, Any]:
  """config.json of an export, with what VISOR has to say."""
  size, family = facts.architecture.size, facts.architecture.family
  config = {
    key: value for key, value in config.items() if key != visor_folder.ENTRY
  }
  if facts != _plain(family, size):
    config[visor_folder.ENTRY] = facts.to_json()
  return config


def _progress(
  what: str, tensors: Iterable[safetensors.Tensor]
) -> Callable[[safetensors.Tensor], None]:
  """Prints how far it is, as it is told of tensors that are done."""
  total = sum(tensor.nbytes for tensor in tensors)
  progress = console.Progress(f'{what}, MB', total // 10**6)
  done, printed = 0, 0.0

  def tick(tensor: safetensors.Tensor) -> None:
    nonlocal done, printed
    done += tensor.nbytes
    if time.monotonic() > printed + 5 or done == total:
      printed = time.monotonic()
      progress.line(done // 10**6)

  return tick


def _ticking(
  tensors: _Tensors, tick: Callable[[safetensors.Tensor], None]
) -> _Tensors:
  """Tensors that tell when they are read."""

  def ticking(tensor: safetensors.Tensor) -> safetensors.Tensor:
    def read() -> np.ndarray:
      tick(tensor)
      return tensor.read()

    return dataclasses.replace(tensor, read=read)

  return {name: ticking(tensor) for name, tensor in tensors.items()}
