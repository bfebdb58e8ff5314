"""A tiny LLaVA-OneVision with VISOR trained on it, in no default way.

Nothing that a config leaves open would be what this checkpoint is.
"""

import dataclasses
import pathlib

import jax
import numpy as np

from tests import llava
from tests import questions
from visor_jax import config as config_lib
from visor_jax import inference
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder as folder_lib
from visor_jax.checkpoint import load
from visor_jax.convert import folders
from visor_jax.convert import sidecar
from visor_jax.eval import generate
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.training import model as model_lib

DEPTH = 6
KEYS = dict(start='model.init_from', asked='eval.checkpoint')
BOTH = (facts_lib.CROSS, facts_lib.ROUTER)


def base(where: pathlib.Path) -> pathlib.Path:
  """Imports a LLaVA-OneVision; returns its checkpoint folder."""
  llava.Oracle(where / 'llava', text=dict(num_hidden_layers=DEPTH))
  folders.import_(where / 'llava', where / 'base')
  return where / 'base'


def architecture(known: architecture_lib.Architecture, depth: int = DEPTH):
  """That of the base, with nothing else as it is by default."""
  return dataclasses.replace(
    known,
    layout=plans.visor(depth, (1, 3), (2, 4)),
    cross=architecture_lib.CrossOptions(
      key_heads='full', norm=False, rope=True, conv=False
    ),
    router=architecture_lib.RouterOptions('last', hidden=6, plans=3),
    last_visual=False,
    reduction='pack:2',
  )


def params(base_params, model: visor.Visor, seed: int = 0) -> dict:
  """Those of a base, and noise where VISOR has weights."""
  flat = param_paths.flatten(base_params)
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  fresh = model_lib.init_params(model, 0, mesh, known=flat.keys())
  rng = np.random.default_rng(seed)
  noise = {
    path: x + 0.3 * rng.standard_normal(x.shape).astype('float32')
    for path, x in param_paths.flatten(fresh).items()
  }
  return param_paths.unflatten(flat | noise)


def checkpoint(
  where: pathlib.Path, imported: pathlib.Path, trained=BOTH
) -> pathlib.Path:
  """Writes a checkpoint folder with trained VISOR weights; returns it."""
  start = load.load(imported)
  known = architecture(start.facts.architecture)
  model = visor.Visor(known, compute_lib.Compute())
  routed = facts_lib.ROUTER in trained
  facts = facts_lib.Facts(
    known,
    viable=(known.layout.min, known.layout.max) if routed else (),
    confidence=0.6 if routed else None,
    trained=tuple(trained),
  )
  folder_lib.save(
    where,
    params(start.params, model),
    facts,
    sidecar.read(start.processor).write,
  )
  return where


def put(config, key, value):
  """Sets a key by its path, whatever its type."""
  *groups, name = key.split('.')
  for group in groups:
    config = config[group]
  with config.ignore_type():
    config[name] = value


def config(**checkpoint):
  """One that leaves all open, and names a checkpoint to start from or to ask.

  Args:
    **checkpoint: its path, by a key of KEYS.
  """
  config = config_lib.default()
  for key, path in checkpoint.items():
    put(config, KEYS[key], str(path))
  return config


def in_memory(folder: pathlib.Path) -> inference.Model:
  """VISOR weights that do something, and a router that cannot decide."""
  fresh = inference.load(folder, allow_untrained=True)
  noise = np.random.default_rng(0)
  flat = param_paths.flatten(fresh.params)
  for path, x in flat.items():
    if path.startswith(('llm/cross', 'router')):
      scale = 3 if path.startswith('router') else 0.3
      flat[path] = x + scale * noise.standard_normal(x.shape).astype('float32')
  layout = fresh.model.layout
  scores, _ = generate.route(
    fresh.model,
    param_paths.unflatten(flat),
    fresh.asked.pack(*zip(*questions.ASKED), 0).batch,
  )
  # Half of the questions for each of the two plans.
  flat['router/bias'] = (
    flat['router/bias'].at[0].add(-np.median(scores[:, 0] - scores[:, 1]))
  )
  return dataclasses.replace(
    fresh,
    params=param_paths.unflatten(flat),
    facts=dataclasses.replace(
      fresh.facts,
      trained=('cross', 'router'),
      viable=(layout.min, layout.max),
    ),
    allow_untrained=False,
  )
