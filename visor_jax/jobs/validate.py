"""What can be known of a config before anything is built."""

import dataclasses
import pathlib

import ml_collections

from visor_jax.checkpoint import resolve
from visor_jax.data.suites import sizes
from visor_jax.data.suites import table as suites
from visor_jax.eval import costs
from visor_jax.jobs import key_values
from visor_jax.jobs import order
from visor_jax.jobs import sources
from visor_jax.models import cross_attention
from visor_jax.reduction import grammar
from visor_jax.runtime import paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import shares
from visor_jax.spec import sizes as sizes_lib
from visor_jax.training import metrics
from visor_jax.training import stages


def validate(config: ml_collections.ConfigDict) -> None:
  """Checks a config for every job that it has keys for.

  Raises:
    ValueError: naming the key, what was given and what is expected.
  """
  key_values.check(config)
  for key in ('model.init_from', 'eval.checkpoint', 'eval.data'):
    group, name = key.split('.')
    paths.parse(config[group][name], key)
  _check_stages(config)
  sources.check(config)
  model = resolve.architecture(config)
  _check_model(config, model)
  _check_jobs(config)
  _check_plans(config, model.layout)
  _check_reductions(config, model)
  _check_budgets(config, model)
  order.asked(config)
  metrics.names(config)
  _check_tiles(config, model)
  sources.check_read(config)


def check_workdir(
  config: ml_collections.ConfigDict, path: pathlib.Path | str
) -> None:
  """Whether all that a config has written can be written to a workdir.

  Raises:
    ValueError: naming the key whose files must be on a disk.
  """
  on_disk = {
    'log.writers': 'tensorboard' in metrics.names(config),
    'log.trace': bool(config.log.trace),
  }
  for key, asked in on_disk.items():
    if asked and paths.in_bucket(path):
      raise ValueError(
        f'{key} is {config.log[key.removeprefix("log.")]!r}, which is written '
        f'to a disk, but workdir {path} is in a bucket; mount that (gcsfuse, '
        'mountpoint-s3), or leave it out'
      )


def _check_stages(config: ml_collections.ConfigDict) -> None:
  jobs = order.names()
  for stage, record in stages.STAGES.items():
    options = config[stage]
    if options.batch % options.accumulate:
      raise ValueError(
        f'{stage}.accumulate is {options.accumulate}, which does not '
        f'divide {stage}.batch, {options.batch}'
      )
    if record.dense and options.plan != 'base':
      raise ValueError(
        f'{stage}.plan is {options.plan!r}: the {stage} stage '
        'trains the dense model; use the full stage'
      )
    before = jobs[: jobs.index(stage)]
    if options.plan == 'viable' and 'search' not in before:
      raise ValueError(
        f'{stage}.plan is "viable", but the search for viable '
        'plans comes after it; set it to max'
      )


def _check_model(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> None:
  layout = model.layout
  if not layout.optional or min(layout.optional) == 0:
    raise ValueError(
      f'model.self_layers is {layout.optional}: a VISOR model needs optional '
      'SELF layers, and the router a layer before the first'
    )
  if not layout.indices(plans.CROSS):
    raise ValueError('model.cross_layers is empty: text would not see images')
  if model.router.hidden < 1:
    raise ValueError(
      f'model.router.hidden is {model.router.hidden}, not at least 1'
    )
  if config.model.cross.init == 'copy' and model.cross.module != 'attention':
    raise ValueError(
      'model.cross.init is "copy", which only the module '
      '"attention" can do; set it to "zero"'
    )
  cross_attention.named(model.cross.module)
  if model.router.plans < 2:
    raise ValueError(
      f'search.max_plans is {model.router.plans}, less than 2: the smallest '
      'and the largest plan are always viable'
    )


def _check_jobs(config: ml_collections.ConfigDict) -> None:
  if config.search.budget and config.search.budget < 2:
    raise ValueError(
      f'search.budget is {config.search.budget}: expected 0 for '
      'no limit, or at least 2, the smallest and largest plan'
    )
  if not 0 < config.label.held_out < 1:
    raise ValueError(
      f'label.held_out is {config.label.held_out}: some labels '
      'must be learned from, and some kept to calibrate with'
    )
  learned = round(config.label.examples * (1 - config.label.held_out))
  if not 0 < learned < config.label.examples:
    raise ValueError(
      f'label.held_out is {config.label.held_out} of label.examples, '
      f'{config.label.examples}: that leaves {learned} to learn from and '
      f'{config.label.examples - learned} to calibrate with; expected at least '
      'one of each'
    )
  families = suites.entry(config).families(config)
  without = set(config.policy.without)
  if not without <= set(families) or without and without == set(families):
    raise ValueError(
      f'policy.without is {tuple(config.policy.without)}: expected some, not '
      'all, of the families that get labels, which are '
      + (', '.join(families) or 'none')
    )


def _check_plans(
  config: ml_collections.ConfigDict, layout: plans.Layout
) -> None:
  for stage in stages.STAGES:
    if config[stage].plan == 'viable':
      continue
    selections = plans.parse(config[stage].plan, layout)
    if len(selections) > 1 or selections[0].selector == 'router':
      raise ValueError(
        f'{stage}.plan is {config[stage].plan!r}; steps run '
        'one plan, as "0,2", or "viable" ones'
      )


def _check_budgets(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> None:
  """No router spends less than the cheapest plan does.

  What that is on average is known when questions are; it is no less than for
  as large an image as there may be and one token of text, and end to end more
  than that, where every plan reads the image.
  """
  layout = model.layout
  asked = [
    (selection.budget, f'eval.plans has "{selection}"', selection.budget_of)
    for selection in plans.asked(config.eval.plans, layout)
    if selection.budget is not None
  ]
  if config.policy.loss == 'reward':
    budget, budget_of = config.policy.budget, config.policy.budget_of
    asked.append((budget, f'policy.budget is {budget:g}', budget_of))
  if not asked:
    return
  visual = suites.entry(config).prompt_shape(config, model).visual
  cheapest, largest = (
    costs.prefill_flops(model, plan, visual, 1, routing=1)
    for plan in (layout.min, layout.max)
  )
  budget, where, of = min(asked)
  if budget < cheapest / largest:
    raise ValueError(
      f'{where}: the cheapest plan takes at least '
      f'{shares.at_least(cheapest / largest)} of {shares.WORDS[of]}'
    )


def _check_reductions(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> None:
  """Token reduction inside the decoder goes with the dense base alone."""
  layout = model.layout
  selections = plans.asked(config.eval.plans, layout)
  base_asked = {s.selector for s in selections} == {'base'}
  base_trained = all(
    stage.dense for name, stage in stages.STAGES.items() if config[name].steps
  )
  for reduction in grammar.parse(config.eval.reduce, searches=True):
    if reduction.in_data:
      grammar.size(dataclasses.replace(model, reduction=str(reduction)))
  for key, base_alone in (
    ('model', base_asked and base_trained),
    ('eval', base_asked),
  ):
    reduce = config[key].reduce or ''
    for reduction in grammar.parse(reduce, searches=key == 'eval'):
      if reduction.in_data and key == 'model':
        raise ValueError(
          f'model.reduce has "{reduction}", which changes the images of data: '
          'it is for answers, in eval.reduce'
        )
      if reduction.base_alone(model.depth) and not base_alone:
        raise ValueError(
          f'{key}.reduce has "{reduction}", which changes the dense decoder: '
          'it goes with eval.plans "base" and, trained with, the base stage '
          'alone'
        )


def _check_tiles(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> None:
  """A model sees the tiles of the suite as they are.

  Others of as many pixels would be cut at the wrong places, and nobody would
  know.
  """
  name, vision = config.data.suite, model.size.vision
  drawn = suites.entry(config).prompt_shape(config, model)
  if _tiles(drawn) == _tiles(vision):
    return
  scale = config.data.get(name, {}).get('scale')
  of_scale = f' with data.{name}.scale "{scale}"' if scale else ''
  fitting = [
    size
    for size, each in sizes.SIZES.items()
    if _tiles(each.vision) == _tiles(drawn)
  ]
  raise ValueError(
    f'data.suite "{name}"{of_scale} has {_tiles(drawn)}, but model.size '
    f'"{config.model.size}" reads {_tiles(vision)}; set model.size to '
    f'{" or ".join(fitting)}, or data.suite to what the model reads'
  )


def _tiles(of: batch_lib.RowShape | sizes_lib.Vision) -> str:
  height, width = of.tile
  return f'tiles of {height} x {width} pixels in {of.patches} patches'
