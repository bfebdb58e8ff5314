"""Which model a config means, and where the words of its checkpoint lie.

A config that starts from a checkpoint, or evaluates one, leaves open (None)
what the checkpoint says of itself. What it says all the same must be that.
"""

import dataclasses
import json

import ml_collections

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder as folder_lib
from visor_jax.reduction import grammar
from visor_jax.runtime import files
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes
from visor_jax.spec import workdir as workdir_lib

DEFAULT_SIZE = '0.5b'


def checkpoint_of(config: ml_collections.ConfigDict) -> str:
  """The checkpoint whose model the config is about; '' for none."""
  return config.eval.checkpoint or config.model.init_from


def origin(config: ml_collections.ConfigDict) -> str:
  """The checkpoint folder with the tokenizer (hf/) of a config; '' for none.

  Raises:
    ValueError: the checkpoint that the config names is none.
  """
  return _location(config).origin if checkpoint_of(config) else ''


def architecture(
  config: ml_collections.ConfigDict,
) -> architecture_lib.Architecture:
  """The model of a config.

  Raises:
    ValueError: the config and its checkpoint differ, with both values; the
      checkpoint is none; a layer or an option cannot be.
  """
  path = checkpoint_of(config)
  if not path:
    return _configured(config, sizes.get(config.model.size or DEFAULT_SIZE))
  known = _location(config).facts.architecture
  if known.layout.optional:
    _require_same(_stated(config, known), known, path)
    if not config.eval.checkpoint:  # nothing is searched there
      _require_room_for_plans(config, known, path)
    return known
  model = dataclasses.replace(
    _configured(config, known.size), family=known.family
  )
  if config.model.size:
    named = dataclasses.replace(
      model, size=_with_vocabulary(sizes.get(config.model.size), known.size)
    )
    _require_same(named, model, path)
  return model


def keep(
  folder: workdir_lib.Workdir, model: architecture_lib.Architecture
) -> None:
  """Leaves the architecture in a workdir, or compares it with what is there.

  Raises:
    ValueError: the workdir is of another model, with both values.
  """
  path = folder.architecture
  if path.exists():
    known = architecture_lib.from_json(json.loads(path.read_text()))
    _require_same(model, known, str(folder.path))
  else:
    files.write_atomic(path, json.dumps(model.to_json(), indent=1))


def _location(config: ml_collections.ConfigDict) -> facts_lib.Location:
  """The checkpoint that a config names."""
  key = 'eval.checkpoint' if config.eval.checkpoint else 'model.init_from'
  path = checkpoint_of(config)
  try:
    return folder_lib.read_facts(path)
  except ValueError as e:
    raise ValueError(f'{key} is {path}: {e}') from e


def _configured(
  config: ml_collections.ConfigDict, size: sizes.Size
) -> architecture_lib.Architecture:
  """What the config says, and the defaults of what it leaves open."""
  m = config.model
  reductions = grammar.parse(m.reduce or '')
  return architecture_lib.Architecture(
    size=size,
    layout=plans.visor(size.language.depth, m.cross_layers, m.self_layers),
    cross=architecture_lib.CrossOptions(**_stated_cross(config)),
    router=architecture_lib.RouterOptions(
      **_not_none(m.router.to_dict()), plans=config.search.max_plans
    ),
    last_visual=True if m.last_visual is None else m.last_visual,
    reduction=str(reductions[0]) if reductions else '',
  )


def _stated(
  config: ml_collections.ConfigDict, known: architecture_lib.Architecture
) -> architecture_lib.Architecture:
  """The known architecture, where the config leaves it open."""
  m = config.model
  cross_layers, self_layers = m.cross_layers, m.self_layers
  if cross_layers is None:
    cross_layers = known.layout.indices(plans.CROSS)
  if self_layers is None:
    self_layers = known.layout.optional
  size = known.size
  if m.size:
    size = _with_vocabulary(sizes.get(m.size), size)
  reductions = grammar.parse(m.reduce or '')
  return dataclasses.replace(
    known,
    size=size,
    layout=plans.visor(size.language.depth, cross_layers, self_layers),
    cross=dataclasses.replace(known.cross, **_stated_cross(config)),
    router=dataclasses.replace(known.router, **_not_none(m.router.to_dict())),
    last_visual=(known.last_visual if m.last_visual is None else m.last_visual),
    reduction=(
      known.reduction
      if m.reduce is None
      else str(reductions[0])
      if reductions
      else ''
    ),
  )


def _stated_cross(config: ml_collections.ConfigDict) -> dict:
  options = _not_none(config.model.cross.to_dict())
  del options['init']  # how a stage begins, not what the model is
  return options


def _not_none(options: dict) -> dict:
  return {key: value for key, value in options.items() if value is not None}


def _with_vocabulary(size: sizes.Size, known: sizes.Size) -> sizes.Size:
  """A named size with the words of a checkpoint: those of one size differ."""
  return dataclasses.replace(
    size,
    language=dataclasses.replace(
      size.language, vocabulary=known.language.vocabulary
    ),
  )


def _require_same(
  here: architecture_lib.Architecture,
  there: architecture_lib.Architecture,
  where: str,
) -> None:
  differences = [
    f'  {key}: here {mine!r}, there {theirs!r}'
    for key, mine, theirs in here.differences(there)
  ]
  if differences:
    raise ValueError(
      f'the model of the config is not that of {where}:\n'
      + '\n'.join(differences)
      + '\nLeave these keys of config.model open, or start from another one.'
    )


def _require_room_for_plans(
  config: ml_collections.ConfigDict,
  known: architecture_lib.Architecture,
  where: str,
) -> None:
  if config.search.max_plans > known.router.plans:
    raise ValueError(
      f'search.max_plans is {config.search.max_plans}, but the router of '
      f'{where} chooses among at most {known.router.plans}'
    )
