"""LLaVA-OneVision checkpoints of Hugging Face, and our own folders of them.

A checkpoint folder is ready to be used or trained further:

  visor.json             Facts, and dtype and shape of every parameter
  checkpoints/0/params   the parameters, as orbax writes them
  hf/                    what an export needs, see sidecar.py; may be missing
"""

import dataclasses
import json
import time

import jax

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder
from visor_jax.convert import config as config_lib
from visor_jax.convert import hub
from visor_jax.convert import names
from visor_jax.convert import reader
from visor_jax.convert import safetensors
from visor_jax.convert import sidecar as sidecar_lib
from visor_jax.convert import visor_tensors
from visor_jax.convert import weights
from visor_jax.runtime import console
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans


def read(src, shardings=None, dtype=None) -> folder.Imported:
  """Reads a Hugging Face folder, one parameter after the other.

  Args:
    src: a folder, or a name on the hub.
    shardings: nested NamedShardings with at least the parameters that the
      checkpoint has; None puts all on the first device.
    dtype: of the parameters; None for that of their tensors, the widest where
      the layers of a stack differ.

  Raises:
    ValueError: it is of another architecture, not whole, or tensors and
      parameters do not match, which names all that have no counterpart.
  """
  src = hub.local(src)
  known = config_lib.read(src)
  tensors = weights.written(safetensors.folder(src), src)
  size = weights.settle(known.size, tensors)
  unused = {
    name: t
    for name, t in tensors.items()
    if names.unused(name, size, known.vision_layers)
  }
  base = {name: t for name, t in tensors.items() if name not in unused}
  weights.match(size, base, src)
  facts = facts_lib.Facts(
    architecture_lib.Architecture(size, plans.base(size.language.depth))
  )
  ours = {}
  if 'visor' in known.config:
    facts = facts_lib.from_json(known.config['visor'], src)
    facts = dataclasses.replace(
      facts, architecture=dataclasses.replace(facts.architecture, size=size)
    )
    ours = safetensors.file(src / visor_tensors.FILE)
  elif (src / visor_tensors.FILE).exists():
    raise ValueError(
      f'{src} has {visor_tensors.FILE}, but its config.json has no entry '
      '"visor" that says what it is; export it again'
    )
  parts = weights.parts(size, base) | visor_tensors.to_parts(
    ours, facts.architecture.layout.indices(plans.CROSS)
  )
  place, tick = folder.placement(shardings), _ticker('import', parts.values())
  flat = {}
  for path, layers in parts.items():
    array = weights.stack(path, layers, dtype)
    flat[path] = jax.make_array_from_callback(
      array.shape, place(path), lambda at: array[at]
    )
    tick(layers)
  dtypes = {name: safetensors.NAMES[t.dtype] for name, t in base.items()}
  return folder.Imported(
    param_paths.unflatten(flat),
    facts,
    sidecar_lib.Sidecar(src, known.config, dtypes, unused),
  )


def write(out, params, facts: facts_lib.Facts, sidecar) -> None:
  """Writes a Hugging Face folder.

  The base's tensors get the dtypes that they had when they were read, VISOR's
  own keep theirs.

  Args:
    out: a new folder.
    params: nested.
    facts: about them.
    sidecar: of the checkpoint that they come from.

  Raises:
    ValueError: the folder is there already, there is no sidecar, or a
      parameter is missing or of another shape.
  """
  out = folder.require_new(out)
  if sidecar is None:
    raise ValueError(
      'the checkpoint has no hf/, because it does not come from '
      'a Hugging Face folder: no tokenizer would go with it'
    )
  flat = param_paths.flatten(params)
  base = weights.tensors(facts.architecture.size, flat, sidecar.dtypes)
  ours = visor_tensors.to_tensors(
    flat, facts.architecture.layout.indices(plans.CROSS)
  )
  tick = _ticker('export', [base.values(), ours.values()])

  def ticking(tensor):
    def read():
      tick([tensor])
      return tensor.read()

    return dataclasses.replace(tensor, read=read)

  out.mkdir(parents=True, exist_ok=True)
  sidecar.copy_files(out)
  config = config_lib.with_vocabulary(
    sidecar.config, facts.architecture.size.language.vocabulary
  )
  config = {k: v for k, v in config.items() if k != 'visor'}
  if ours:
    config['visor'] = facts.to_json()
    safetensors.write(
      out / visor_tensors.FILE, {name: ticking(t) for name, t in ours.items()}
    )
  if config != json.loads((out / 'config.json').read_text()):
    (out / 'config.json').write_text(json.dumps(config, indent=2))
  safetensors.write_folder(
    out, {name: ticking(t) for name, t in base.items()} | sidecar.unused
  )


def import_(src, out) -> None:
  """Makes a checkpoint folder of a Hugging Face one; see `read`, `save`."""
  folder.require_new(out)
  found = read(src)
  console.log(f'import: writing {out}')
  folder.save(out, found.params, found.facts, found.sidecar)


def export(src, out) -> None:
  """Makes a Hugging Face folder of a checkpoint folder; see `write`."""
  folder.require_new(out)
  console.log(f'export: reading {src}')
  found = reader.read(src)
  write(out, found.params, found.facts, found.sidecar)


def _ticker(what: str, groups):
  """Says how far it is, as it is told of tensors that are done."""
  total = sum(t.nbytes for group in groups for t in group)
  progress, done, said = console.Progress(f'{what}, MB', total // 10**6), 0, 0

  def tick(tensors):
    nonlocal done, said
    done += sum(t.nbytes for t in tensors)
    if time.monotonic() > said + 5 or done == total:
      said = time.monotonic()
      progress.line(done // 10**6)

  return tick
