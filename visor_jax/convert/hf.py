"""LLaVA-OneVision checkpoints of Hugging Face, and our own folders of them.

A checkpoint folder is ready to be used or trained further:

  visor.json             Facts, and dtype and shape of every parameter
  checkpoints/0/params   the parameters, as orbax writes them
  hf/                    what an export needs, see sidecar.py; may be missing
"""

import dataclasses
import json
import pathlib
import time

import jax

from visor_jax import checkpoint
from visor_jax import log
from visor_jax import optim
from visor_jax import plan as plans
from visor_jax import sizes
from visor_jax.convert import config as config_lib
from visor_jax.convert import facts as facts_lib
from visor_jax.convert import hub
from visor_jax.convert import names
from visor_jax.convert import own
from visor_jax.convert import run
from visor_jax.convert import safetensors
from visor_jax.convert import sidecar as sidecar_lib
from visor_jax.convert import weights

FACTS = 'visor.json'  # written last: a folder that has it is whole


@dataclasses.dataclass(frozen=True)
class Imported:
  """Parameters with all that is known of them.

  Attributes:
    params: nested; `llm/cross` and `router` only where there were some.
    facts: size, layout and the rest.
    sidecar: what an export needs, or None.
  """

  params: dict
  facts: facts_lib.Facts
  sidecar: sidecar_lib.Sidecar | None

  @property
  def size(self) -> sizes.Size:
    return self.facts.size


def read(src, shardings=None, dtype=None) -> Imported:
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
  unused = {name: t for name, t in tensors.items()
            if names.unused(name, size, known.vision_layers)}
  base = {name: t for name, t in tensors.items() if name not in unused}
  weights.match(size, base, src)
  facts = facts_lib.Facts(size, plans.base(size.language.depth))
  ours = {}
  if 'visor' in known.config:
    facts = dataclasses.replace(
        facts_lib.from_json(known.config['visor'], src), size=size)
    ours = safetensors.file(src / own.FILE)
  elif (src / own.FILE).exists():
    raise ValueError(f'{src} has {own.FILE}, but its config.json has no entry '
                     '"visor" that says what it is; export it again')
  parts = weights.parts(size, base) | own.to_parts(
      ours, facts.layout.indices(plans.CROSS))
  place, tick = _place(shardings), _ticker('import', parts.values())
  flat = {}
  for path, layers in parts.items():
    array = weights.stack(path, layers, dtype)
    flat[path] = jax.make_array_from_callback(
        array.shape, place(path), lambda at: array[at])
    tick(layers)
  dtypes = {name: safetensors.NAMES[t.dtype] for name, t in base.items()}
  return Imported(optim.unflatten(flat), facts, sidecar_lib.Sidecar(
      src, known.config, dtypes, unused))


def load(src, shardings=None, dtype=None) -> Imported:
  """Reads a checkpoint folder; arguments as of `read`.

  Raises:
    ValueError: it is no such folder, or not whole.
  """
  src = pathlib.Path(src)
  if not (src / FACTS).exists():
    raise ValueError(f'{src} has no {FACTS}: it is not a folder that `python '
                     '-m visor_jax.convert import` wrote to the end')
  found, place = json.loads((src / FACTS).read_text()), _place(shardings)
  facts = facts_lib.from_json(found, src / FACTS)
  shapes = {
      path: jax.ShapeDtypeStruct(shape, dtype or saved_as, sharding=place(path))
      for path, (saved_as, shape) in found['params'].items()}
  with checkpoint.Checkpoints(src / 'checkpoints') as saved:
    params, _ = saved.restore(0, optim.unflatten(shapes))
  hf = src / 'hf'
  return Imported(
      params, facts, sidecar_lib.read(hf) if hf.exists() else None)


def read_run(src, shardings=None, dtype=None) -> Imported:
  """Reads what the workdir of a run has come to; arguments as of `read`."""
  params, facts, start = run.read(src, _place(shardings), dtype)
  hf = pathlib.Path(start) / 'hf' if start else None
  return Imported(params, facts, sidecar_lib.read(hf) if hf else None)


def known(src):
  """What is known of a checkpoint folder or a workdir, without its weights.

  Returns:
    (facts_lib.Facts, the checkpoint folder with hf/, or '' for a run that
    started from none, folder that the weights are in).

  Raises:
    ValueError: it is neither.
  """
  src = pathlib.Path(src)
  if run.is_run(src):
    return run.known(src)
  if not (src / FACTS).exists():
    raise ValueError(f'{src} is neither a workdir nor a folder that `python -m '
                     'visor_jax.convert import` wrote to the end')
  found = json.loads((src / FACTS).read_text())
  return (facts_lib.from_json(found, src / FACTS), str(src),
          src / 'checkpoints' / '0')


def read_any(src, shardings=None, dtype=None) -> Imported:
  """Reads a checkpoint folder, a workdir or a Hugging Face folder."""
  if (pathlib.Path(src) / FACTS).exists():
    return load(src, shardings, dtype)
  return (read_run if run.is_run(src) else read)(src, shardings, dtype)


def save(out, params, facts: facts_lib.Facts, sidecar=None) -> None:
  """Writes a checkpoint folder.

  Args:
    out: a new folder.
    params: nested.
    facts: about them.
    sidecar: of the checkpoint that they come from; without, no export.

  Raises:
    ValueError: the folder is there already.
  """
  out = _fresh(out)
  if sidecar:
    sidecar.write(out / 'hf')
  with checkpoint.Checkpoints(out / 'checkpoints') as saved:
    saved.save(0, params)
    saved.wait()
  shapes = {path: [str(x.dtype), list(x.shape)]
            for path, x in sorted(optim.flatten(params).items())}
  log.write_atomic(out / FACTS, json.dumps(
      facts.to_json() | {'params': shapes}, indent=1))


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
  out = _fresh(out)
  if sidecar is None:
    raise ValueError('the checkpoint has no hf/, because it does not come from '
                     'a Hugging Face folder: no tokenizer would go with it')
  flat = optim.flatten(params)
  base = weights.tensors(facts.size, flat, sidecar.dtypes)
  ours = own.to_tensors(flat, facts.layout.indices(plans.CROSS))
  tick = _ticker('export', [base.values(), ours.values()])

  def ticking(tensor):
    def read():
      tick([tensor])
      return tensor.read()
    return dataclasses.replace(tensor, read=read)

  out.mkdir(parents=True, exist_ok=True)
  sidecar.copy_files(out)
  config = config_lib.with_vocabulary(
      sidecar.config, facts.size.language.vocabulary)
  config = {k: v for k, v in config.items() if k != 'visor'}
  if ours:
    config['visor'] = facts.to_json()
    safetensors.write(
        out / own.FILE, {name: ticking(t) for name, t in ours.items()})
  if config != json.loads((out / 'config.json').read_text()):
    (out / 'config.json').write_text(json.dumps(config, indent=2))
  safetensors.write_folder(
      out, {name: ticking(t) for name, t in base.items()} | sidecar.unused)


def import_(src, out) -> None:
  """Makes a checkpoint folder of a Hugging Face one; see `read`, `save`."""
  _fresh(out)
  found = read(src)
  log.say(f'import: writing {out}')
  save(out, found.params, found.facts, found.sidecar)


def export(src, out) -> None:
  """Makes a Hugging Face folder of a checkpoint folder; see `write`."""
  _fresh(out)
  log.say(f'export: reading {src}')
  found = read_any(src)
  write(out, found.params, found.facts, found.sidecar)


def _fresh(out) -> pathlib.Path:
  out = pathlib.Path(out)
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f'{out} is there already; name a new folder or delete it')
  return out


def _place(shardings):
  """path -> where a parameter shall lie."""
  if shardings is None:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return lambda path: here
  flat = optim.flatten(shardings)

  def find(path):
    if path not in flat:
      raise ValueError(f'the checkpoint has {path}, which the model has not; '
                       'is its layout that of the checkpoint?')
    return flat[path]

  return find


def _ticker(what: str, groups):
  """Says how far it is, as it is told of tensors that are done."""
  total = sum(t.nbytes for group in groups for t in group)
  progress, done, said = log.Progress(f'{what}, MB', total // 10**6), 0, 0

  def tick(tensors):
    nonlocal done, said
    done += sum(t.nbytes for t in tensors)
    if time.monotonic() > said + 5 or done == total:
      said = time.monotonic()
      progress.line(done // 10**6)

  return tick
