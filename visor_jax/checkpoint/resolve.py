"""Which model a config means: its own word, or that of its checkpoint.

A config that starts from a checkpoint, or evaluates one, leaves open (None)
what the checkpoint says of itself. What it says all the same must be that.
What has not been trained, a checkpoint leaves open in turn.
"""

from collections.abc import Callable
import dataclasses
import json
from typing import Any
from typing import TypeAlias
from typing import TypeVar

import ml_collections

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import load
from visor_jax.data.suites import sizes as suite_sizes
from visor_jax.families import table as families
from visor_jax.reduction import grammar
from visor_jax.runtime import checksums
from visor_jax.runtime import errors
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes
from visor_jax.spec import workdir

DEFAULT_SIZE = '0.5b'

_T = TypeVar('_T')

# Config keys of what makes a model, and what they say.
Settings: TypeAlias = dict[str, Any]

_SIZE, _REDUCE, _OUTPUTS = 'model.size', 'model.reduce', 'search.max_plans'
_ROUTER = ('model.router.token', 'model.router.hidden', _OUTPUTS)


def architecture(
  config: ml_collections.ConfigDict,
) -> architecture_lib.Architecture:
  """The model of a config.

  Raises:
    ValueError: the config and its checkpoint differ, with both values; the
      checkpoint is none; a layer or an option cannot be.
  """
  if not _checkpoint(config):
    family, size = _named_size(config.model.size or DEFAULT_SIZE)
    layout = plans.visor(size.language.depth)
    fresh = architecture_lib.Architecture(size, layout, family=family)
    return _build(_settings(fresh) | _stated(config, size), family)
  facts = _located(config, load.locate).facts
  known = facts.architecture
  if facts_lib.CROSS not in facts.trained:
    known = dataclasses.replace(known, layout=plans.visor(known.depth))
  settings, stated = _settings(known), _stated(config, known.size)
  settled = {
    key: value for key, value in settings.items() if _is_settled(key, facts)
  }
  _require_same(stated, settled, _checkpoint(config))
  return _build(settings | stated, known.family)


def base(config: ml_collections.ConfigDict) -> facts_lib.Location | None:
  """The dense model of the checkpoint that a config names, if it names one.

  Raises:
    ValueError: the checkpoint that the config names is none.
  """
  return _located(config, load.locate_base) if _checkpoint(config) else None


def origin(config: ml_collections.ConfigDict) -> str:
  """The checkpoint folder with the tokenizer (hf/) of a config; '' for none.

  Raises:
    ValueError: the checkpoint that the config names is none.
  """
  return _located(config, load.locate).origin if _checkpoint(config) else ''


def keep(folder: workdir.Workdir, model: architecture_lib.Architecture) -> None:
  """Leaves the architecture in a workdir, or compares it with what is there.

  Raises:
    ValueError: the workdir is of another model, with both values.
  """
  path = folder.architecture
  if not path.exists():
    checksums.write(path, json.dumps(model.to_json(), indent=1))
    return
  known = architecture_lib.from_json(checksums.read_object(path))
  _require_same(
    _settings(model) | {'family': model.family},
    _settings(known) | {'family': known.family},
    str(folder.path),
  )


def _checkpoint(config: ml_collections.ConfigDict) -> str:
  """The checkpoint whose model the config is about; '' for none."""
  return config.eval.checkpoint or config.model.init_from


def _located(
  config: ml_collections.ConfigDict,
  locate: Callable[[str], _T],
) -> _T:
  """What a function of `load` finds at the checkpoint of a config."""
  key = 'eval.checkpoint' if config.eval.checkpoint else 'model.init_from'
  try:
    return locate(_checkpoint(config))
  except ValueError as e:
    raise errors.Refusal(f'{key} is {_checkpoint(config)}: {e}') from e


def _settings(model: architecture_lib.Architecture) -> Settings:
  """What a config would say of a model."""
  return {
    _SIZE: model.size,
    'model.cross_layers': model.layout.indices(plans.CROSS),
    'model.self_layers': model.layout.optional,
    **{
      f'model.cross.{key}': value
      for key, value in dataclasses.asdict(model.cross).items()
    },
    'model.last_visual': model.last_visual,
    _REDUCE: model.reduction,
    'model.router.token': model.router.token,
    'model.router.hidden': model.router.hidden,
    _OUTPUTS: model.router.plans,
  }


def _stated(config: ml_collections.ConfigDict, known: sizes.Size) -> Settings:
  """What a config says of its model, without what it leaves open.

  Args:
    config: the whole config.
    known: the size whose vocabulary counts, as those of one name differ.
  """
  m = config.model
  settings: Settings = {
    _SIZE: _with_vocabulary(m.size, known) if m.size else None,
    'model.cross_layers': _layers(m.cross_layers),
    'model.self_layers': _layers(m.self_layers),
    **{
      f'model.cross.{key}': value
      for key, value in m.cross.items()
      if key != 'init'  # how a stage begins, not what the model is
    },
    'model.last_visual': m.last_visual,
    _REDUCE: None if m.reduce is None else _first_reduction(m.reduce),
    'model.router.token': m.router.token,
    'model.router.hidden': m.router.hidden,
    _OUTPUTS: config.search.max_plans,
  }
  return {key: value for key, value in settings.items() if value is not None}


def _build(settings: Settings, family: str) -> architecture_lib.Architecture:
  """The inverse of `_settings`."""
  size = settings[_SIZE]
  prefix = 'model.cross.'
  return architecture_lib.Architecture(
    size=size,
    layout=plans.visor(
      size.language.depth,
      settings['model.cross_layers'],
      settings['model.self_layers'],
    ),
    cross=architecture_lib.CrossOptions(
      **{
        key.removeprefix(prefix): value
        for key, value in settings.items()
        if key.startswith(prefix)
      }
    ),
    router=architecture_lib.RouterOptions(
      settings['model.router.token'],
      settings['model.router.hidden'],
      settings[_OUTPUTS],
    ),
    last_visual=settings['model.last_visual'],
    reduction=settings[_REDUCE],
    family=family,
  )


def _is_settled(key: str, facts: facts_lib.Facts) -> bool:
  """Whether the weights of a checkpoint go with one value of a key alone."""
  if key == _SIZE or (key == _REDUCE and facts.architecture.reduction):
    return True
  part = facts_lib.ROUTER if key in _ROUTER else facts_lib.CROSS
  return part in facts.trained


def _layers(stated: Any) -> tuple[int, ...] | None:
  return None if stated is None else tuple(sorted(stated))


def _first_reduction(text: str) -> str:
  """The one that a model is asked with; '' for none."""
  reductions = grammar.parse(text)
  return str(reductions[0]) if reductions else ''


def _named_size(name: str) -> tuple[str, sizes.Size]:
  """The name of its family, and the size."""
  return families.named_size(name, suite_sizes.SIZES)


def _with_vocabulary(name: str, known: sizes.Size) -> sizes.Size:
  _, size = _named_size(name)
  return dataclasses.replace(
    size,
    language=dataclasses.replace(
      size.language, vocabulary=known.language.vocabulary
    ),
  )


def _require_same(here: Settings, there: Settings, where: str) -> None:
  """Raises a ValueError with all keys of both whose values differ."""
  differences = [
    f'  {key}: here {_text(here[key], there[key])}, '
    f'there {_text(there[key], here[key])}'
    for key in here.keys() & there.keys()
    if here[key] != there[key]
  ]
  if differences:
    raise errors.Refusal(
      f'the model of the config is not that of {where}:\n'
      + '\n'.join(sorted(differences))
      + '\nLeave these keys open, or name another folder.'
    )


def _text(value: Any, other: Any) -> str:
  """A value for an error; of a size, what is not as in the other one."""
  if not isinstance(value, sizes.Size):
    return repr(value)
  fields, others = _fields(value), _fields(other)
  return ' '.join(
    f'{key}={fields[key]}' for key in fields if fields[key] != others[key]
  )


def _fields(size: sizes.Size) -> dict[str, Any]:
  return {
    f'{part}.{key}': value
    for part, fields in dataclasses.asdict(size).items()
    for key, value in fields.items()
  }
