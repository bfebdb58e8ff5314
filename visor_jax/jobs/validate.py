"""What can be known of a config before anything is built."""

from collections.abc import Iterator
import math
from typing import Any

import ml_collections

from visor_jax import config as config_lib
from visor_jax.benchmarks import scores
from visor_jax.checkpoint import resolve
from visor_jax.data.sources import image_files
from visor_jax.models import cross_attention
from visor_jax.reduction import grammar
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.training import metrics

STAGES = config_lib.STAGES

CHOICES = {
  'model.cross.init': ('zero', 'copy'),
  'model.dtype': ('float32', 'bfloat16'),
  'model.remat_policy': ('input', 'dots'),
  'model.attention': ('auto', 'chunked', 'cudnn', 'splash'),
  'data.suite': ('', 'digits'),
  'data.transparency': tuple(image_files.GROUNDS),
  'label.score': tuple(scores.SCORES),
  'label.all_wrong': ('skip', 'cheapest'),
  'policy.select': ('confidence', 'argmax'),
  'eval.score': tuple(scores.SCORES),
}

SHARES = (
  'label.threshold',
  'label.held_out',
  'policy.keep',
  'data.max_bad_fraction',
  *(
    f'{stage}.{key}'
    for stage in STAGES
    for key in ('warmup', 'end_lr_fraction', 'max_share', 'full_token_fraction')
  ),
)

AT_LEAST_ONE = (
  'model.attention_chunk',
  'model.loss_chunk',
  'search.examples',
  'label.examples',
  'eval.examples',
  'eval.batch',
  'eval.chunk',
  'eval.max_new_tokens',
  'checkpoint.every',
  'checkpoint.keep',
  'log.every',
  'data.threads',
  'data.prefetch',
  'data.digits.frames',
  'data.window',
  'data.packed.text',
  'data.packed.tiles',
  'data.packed.prompts',
  'data.prompt.text',
  'data.prompt.tiles',
  'optim.max_nonfinite_steps',
  *(f'{stage}.{key}' for stage in STAGES for key in ('batch', 'accumulate')),
)

NOT_NEGATIVE = (
  'seed',
  'optim.weight_decay',
  'optim.clip',
  *(f'{s}.{key}' for s in STAGES for key in ('steps', 'learning_rate')),
)

BELOW_ONE = ('optim.b1', 'optim.b2')  # and not negative: decays of averages


def validate(config: ml_collections.ConfigDict) -> None:
  """Checks a config for every job that it has keys for.

  Raises:
    ValueError: naming the key, what was given and what is expected.
  """
  _check_values(config)
  _check_stages(config)
  for key in ('data', 'eval', *STAGES):
    _check_sources(f'{key}.sources', config[key].sources)
  model = resolve.architecture(config)
  _check_model(config, model)
  _check_jobs(config)
  _check_plans(config, model.layout)
  _check_reductions(config, model)
  config_lib.jobs(config)
  metrics.names(config)


def _check_values(config: ml_collections.ConfigDict) -> None:
  """One key at a time."""
  for key, value in _leaves(config):
    if isinstance(value, float) and not math.isfinite(value):
      raise ValueError(f'{key} is {value}, no finite number')
  for key, choices in CHOICES.items():
    if _value(config, key) not in choices:
      raise ValueError(
        f'{key} is {_value(config, key)!r}, not one of {choices}'
      )
  for key in SHARES:
    if not 0 <= _value(config, key) <= 1:
      raise ValueError(f'{key} is {_value(config, key)}, not between 0 and 1')
  for key in AT_LEAST_ONE:
    if _value(config, key) < 1:
      raise ValueError(f'{key} is {_value(config, key)}, not at least 1')
  for key in NOT_NEGATIVE:
    if _value(config, key) < 0:
      raise ValueError(f'{key} is {_value(config, key)}, less than 0')
  for key in BELOW_ONE:
    if not 0 <= _value(config, key) < 1:
      raise ValueError(f'{key} is {_value(config, key)}, not from 0 to below 1')
  for pattern, scale in config.optim.lr_scales:
    if not (math.isfinite(scale) and scale >= 0):
      raise ValueError(
        f'optim.lr_scales has {scale} for "{pattern}"; expected a finite '
        'factor that is not negative'
      )
  if config.seed >= 2**63:
    raise ValueError(f'seed is {config.seed}; expected less than 2**63')
  trace = config.log.trace
  if trace and not (len(trace) == 2 and 0 <= trace[0] <= trace[1]):
    raise ValueError(
      f'log.trace is {trace}; expected (first, last) '
      'of the steps to trace, or ()'
    )


def _check_stages(config: ml_collections.ConfigDict) -> None:
  for stage in STAGES:
    options = config[stage]
    if options.batch % options.accumulate:
      raise ValueError(
        f'{stage}.accumulate is {options.accumulate}, which does not '
        f'divide {stage}.batch, {options.batch}'
      )
  for stage in ('cross', 'full'):
    if config[stage].plan == 'viable':
      raise ValueError(
        f'{stage}.plan is "viable", but the search for viable '
        'plans comes after it; set it to max'
      )
  if config.base.plan != 'base':
    raise ValueError(
      f'base.plan is {config.base.plan!r}: the base stage '
      'trains the dense model; use the full stage'
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


def _check_jobs(config: ml_collections.ConfigDict) -> None:
  if config.search.max_plans < 2:
    raise ValueError(
      'search.max_plans is less than 2: the smallest and the '
      'largest plan are always viable'
    )
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


def _check_plans(
  config: ml_collections.ConfigDict, layout: plans.Layout
) -> None:
  for stage in STAGES:
    if config[stage].plan == 'viable':
      continue
    selections = plans.parse(config[stage].plan, layout)
    if len(selections) > 1 or selections[0].selector == 'router':
      raise ValueError(
        f'{stage}.plan is {config[stage].plan!r}; steps run '
        'one plan, as "0,2", or "viable" ones'
      )


def _check_reductions(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> None:
  """Token reduction inside the decoder goes with the dense base alone."""
  layout = model.layout
  selections = plans.parse(
    config.eval.plans, layout, viable=(layout.min, layout.max)
  )
  base_asked = {s.selector for s in selections} == {'base'}
  base_trained = not any(config[s].steps for s in STAGES if s != 'base')
  for key, base_alone in (
    ('model', base_asked and base_trained),
    ('eval', base_asked),
  ):
    for reduction in grammar.parse(config[key].reduce or ''):
      reduction.cuts(model.depth)
      if not (reduction.early or base_alone):
        raise ValueError(
          f'{key}.reduce has "{reduction}", which splits the dense decoder: '
          'it goes with eval.plans "base" and, trained with, the base stage '
          'alone'
        )


def _check_sources(key: str, sources: tuple) -> None:
  """They are ((name, path, weight), ...)."""
  for source in sources:
    if not (
      isinstance(source, tuple | list)
      and len(source) == 3
      and isinstance(source[0], str)
      and isinstance(source[1], str)
      and isinstance(source[2], int | float)
      and 0 < source[2] < math.inf
    ):
      raise ValueError(
        f'{key} has {source!r}; expected (name, path, weight) with '
        'a weight above 0'
      )
  names = [name for name, _, _ in sources]
  if len(set(names)) < len(names):
    raise ValueError(f'{key} has a name twice: {", ".join(names)}')


def _leaves(
  config: ml_collections.ConfigDict, prefix: str = ''
) -> Iterator[tuple[str, Any]]:
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      yield from _leaves(value, f'{prefix}{key}.')
    else:
      yield prefix + key, value


def _value(config: ml_collections.ConfigDict, key: str) -> Any:
  for part in key.split('.'):
    config = config[part]
  return config
