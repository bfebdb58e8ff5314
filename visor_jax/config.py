"""Every key of a run, once, with its default and what it means.

An experiment is a file with `get_config(arg)`: it takes `default()`, sets
values and opens with its command, hardware, hours and expected number.
"""

import json
import pathlib

import ml_collections

from visor_jax.reduction import grammar
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

STAGES = ('base', 'cross', 'full', 'universal', 'policy')  # these train
JOBS = (
  'base',
  'cross',
  'full',
  'search',
  'universal',
  'label',
  'policy',
  'eval',
  'report',
)  # in order


def _stage(train_plan: str) -> ml_collections.ConfigDict:
  """Keys of a training stage."""
  c = ml_collections.ConfigDict()
  c.steps = 0  # 0 leaves the stage out; the next starts from the one before
  c.batch = 64  # rows of the global batch
  c.accumulate = 1  # parts of a batch, one after the other, in less memory
  c.learning_rate = 1e-3  # at its highest
  c.warmup = 0.03  # share of the steps with a rising learning rate
  c.end_lr_fraction = 0.0  # the cosine ends at this share of the learning rate
  c.plan = train_plan  # of each step: base, viable, or one as max, min, 0,2
  c.max_share = 0.0  # with plan viable: this share of steps runs the largest
  c.full_token_fraction = (
    0.0  # share of the steps, the first, that model.reduce leaves alone
  )
  c.sources = ()  # of this stage; () for those of data
  return c


def default() -> ml_collections.ConfigDict:
  """All keys with their defaults, locked: an unknown key is an error."""
  c = ml_collections.ConfigDict()
  c.seed = 0  # everything random is a function of it and of the step
  c.jobs = 'all'  # which jobs to run: all, or names joined by '+'

  c.model = m = ml_collections.ConfigDict()
  m.init_from = (
    ''  # folder of an imported checkpoint to start from; '' for none
  )
  m.size = '0.5b'  # a name in sizes.SIZES, where no checkpoint says it
  m.cross_layers = None  # CROSS layers; None: every third from layer 1
  m.self_layers = None  # optional SELF layers; None: every third from layer 2
  m.cross = ml_collections.ConfigDict()
  m.cross.module = 'attention'  # a name in models.cross.CROSS
  m.cross.key_heads = 'base'  # as the base's, or full: one per query head
  m.cross.norm = True  # RMSNorm on text and on visual tokens going in
  m.cross.rope = False  # rotary positions in cross attention
  m.cross.conv = True  # positional convolution on what becomes keys, values
  m.cross.init = 'zero'  # output at zero, or copy: the layer's own q, k, v, o
  m.last_visual = True  # the last SELF layer refines an image nobody reads on
  m.reduce = ''  # of visual tokens, trained with: see reduction.py; '' for none
  m.router = ml_collections.ConfigDict()
  m.router.token = 'learned'  # or last (of the prompt), visual (mean)
  m.router.hidden = 128  # width of the router's MLP
  m.dtype = 'float32'  # computed in; parameters are float32
  m.remat = True  # recompute layers in the backward pass
  m.remat_policy = (
    'input'  # of a layer by remat; or dots: products with weights too
  )
  m.scan = True  # scan layers that repeat
  m.attention = 'auto'  # by backend; or chunked, cudnn, splash
  m.attention_chunk = 512  # queries scored at a time by chunked
  m.loss_chunk = 512  # text slots whose logits are held at a time in training

  c.mesh = ml_collections.ConfigDict()
  c.mesh.data = -1  # copies of the model; -1 fills with the devices left
  c.mesh.fsdp = 1  # devices over which parameters are spread
  c.mesh.tensor = 1  # devices over which heads and MLPs are spread

  c.data = d = ml_collections.ConfigDict()
  d.suite = 'digits'  # the built-in suite; '' for sources
  # (name, path, weight) of each source of conversations, see data/sources.py.
  d.sources = ()
  d.packed = ml_collections.ConfigDict()  # slots that conversations share
  d.packed.text = 2048
  d.packed.visual = 18432  # images leave few holes in it, see data/windows.py
  d.packed.tiles = 64
  d.packed.prompts = 32
  d.prompt = ml_collections.ConfigDict()  # slots of a question asked alone
  d.prompt.text = 768
  d.prompt.visual = 7424  # with text a multiple of 1024, to be halved
  d.prompt.tiles = 37
  d.window = 1024  # conversations that are packed together
  d.max_bad_fraction = 0.01  # share of bad records at which a run stops
  d.digits = ml_collections.ConfigDict()
  d.digits.frames = 1  # of a clip, ten visual tokens each
  # Scenes at the start of a stage that are only read out, then those that also
  # ask for single rows.
  d.digits.primers = ml_collections.ConfigDict(
    dict(base=(0, 0), cross=(0, 0), full=(0, 0))
  )
  d.threads = 1  # that prepare batches ahead
  d.prefetch = 4  # batches prepared ahead

  c.optim = ml_collections.ConfigDict()
  c.optim.b1 = 0.9
  c.optim.b2 = 0.98
  c.optim.weight_decay = 0.0  # the paper uses none
  c.optim.clip = 1.0  # global norm of the gradient; 0 for none
  # A step whose loss or gradient is not finite is not applied; so many in a row
  # stop the run.
  c.optim.max_nonfinite_steps = 10
  # Learning rate factors by parameter path, first match counts.
  c.optim.lr_scales = (('vision/.*', 1.0), ('.*', 1.0))

  c.base = _stage('base')  # the dense model from scratch
  c.cross = _stage('max')  # the base frozen, only CROSS weights learn
  c.full = _stage('max')  # all weights
  c.universal = _stage('viable')  # all weights, one viable plan a step
  c.universal.max_share = 0.5
  c.policy = _stage('max')  # the router alone; no layer past it runs

  c.search = ml_collections.ConfigDict()
  c.search.examples = 512  # questions per plan
  c.search.exhaustive = 5  # up to so many optional layers try every plan
  c.search.budget = 0  # at most so many plans are evaluated; 0: no limit
  c.search.max_plans = 9  # viable plans, the smallest and largest among them

  c.label = ml_collections.ConfigDict()
  c.label.examples = 4096  # questions
  c.label.score = 'exact'  # or anls, token
  c.label.threshold = 0.99  # right: this share of the best plan's score
  c.label.all_wrong = 'skip'  # or cheapest: the label where no plan is right
  c.label.held_out = 0.25  # share of labels kept to calibrate the router

  c.policy.select = 'confidence'  # or argmax: how scores become a plan
  c.policy.confidence = None  # None: calibrated on the held-out labels
  c.policy.keep = 0.99  # calibrate to this share of the largest's accuracy
  c.policy.without = ()  # families that the router never sees

  c.eval = ml_collections.ConfigDict()
  c.eval.examples = 4096  # questions, half coarse, half fine
  c.eval.plans = 'base+all+router'  # in the grammar of plan.py
  c.eval.reduce = ''  # each of these beside what it was trained with
  c.eval.batch = 128  # questions answered at a time
  c.eval.chunk = 1024  # questions after which results are written
  c.eval.measure = True  # time to first token, tokens/s and peak memory, too
  c.eval.score = 'exact'  # or anls, token
  c.eval.sources = ()  # test questions: the first one of each conversation
  c.eval.coarse = ()  # names of the sources that are coarse; others are fine
  c.eval.max_new_tokens = 64  # of an answer at most
  # Instead of sources: hard, easy, all, or names of benchmarks/table.py by '+'
  c.eval.benchmarks = ''
  c.eval.data = 'benchmarks'  # folder with one for each benchmark
  c.eval.checkpoint = ''  # a workdir or imported checkpoint, not this workdir

  c.checkpoint = ml_collections.ConfigDict()
  c.checkpoint.every = 500  # steps
  c.checkpoint.keep = 2  # newest checkpoints of a stage

  c.log = ml_collections.ConfigDict()
  c.log.every = 50  # steps
  c.log.tensorboard = False  # metrics for TensorBoard too, in STAGE/tensorboard
  c.log.trace = ()  # (first, last) step of a profiler trace, in STAGE/trace

  c.compilation_cache = (
    'compiled'  # programs are kept here in the workdir; '' for not
  )
  return c.lock()


def jobs(config) -> tuple[str, ...]:
  """The jobs that `stage` asks for, in order.

  Raises:
    ValueError: a name that is no job.
  """
  if config.jobs == 'all':
    return tuple(j for j in JOBS if j not in STAGES or config[j].steps)
  asked = config.jobs.split('+')
  for name in asked:
    if name not in JOBS:
      raise ValueError(f'jobs: "{name}" is not all or one of {", ".join(JOBS)}')
    if name in STAGES and not config[name].steps:
      raise ValueError(f'jobs: stage "{name}" has no steps; set {name}.steps')
  return tuple(j for j in JOBS if j in asked)


def size(config) -> sizes.Size:
  """The size of the configured model.

  Raises:
    ValueError: its name is unknown, or the checkpoint to start from not there.
  """
  if not config.model.init_from:
    return sizes.get(config.model.size)
  path = pathlib.Path(config.model.init_from) / 'visor.json'
  if not path.exists():
    raise ValueError(
      f'model.init_from is {config.model.init_from}, where there is no '
      f'{path.name}; '
      'make one with python -m visor_jax.convert import'
    )
  return sizes.from_json(json.loads(path.read_text())['size'])


def layout(config) -> plans.Layout:
  """The VISOR layout of the configured model."""
  size_ = size(config)
  return plans.visor(
    size_.language.depth, config.model.cross_layers, config.model.self_layers
  )


_BOOLS = {'true': True, '1': True, 'false': False, '0': False}


def parse_arg(arg: str | None, **defaults):
  """Reads the text behind the colon of `--config=file.py:a=1,b=x`.

  Args:
    arg: 'key=value' pairs joined by commas, or None.
    **defaults: the keys there are, and their values when not given; a value
      is read as the type of its default.

  Returns:
    ConfigDict of the keys.

  Raises:
    ValueError: an unknown key, or a value of the wrong type.
  """
  found = ml_collections.ConfigDict(defaults)
  for pair in filter(None, (arg or '').split(',')):
    key, _, value = pair.partition('=')
    if key not in defaults:
      raise ValueError(
        f'config argument "{pair}": keys are {", ".join(defaults)}'
      )
    kind = type(defaults[key])
    try:
      found[key] = _BOOLS[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError):
      raise ValueError(
        f'config argument "{pair}": {key} is a {kind.__name__}'
      ) from None
  return found


_CHOICES = {
  'model.cross.key_heads': ('base', 'full'),
  'model.cross.init': ('zero', 'copy'),
  'model.router.token': ('learned', 'last', 'visual'),
  'model.dtype': ('float32', 'bfloat16'),
  'model.remat_policy': ('input', 'dots'),
  'model.attention': ('auto', 'chunked', 'cudnn', 'splash'),
  'data.suite': ('', 'digits'),
  'label.score': ('exact', 'anls', 'token'),
  'label.all_wrong': ('skip', 'cheapest'),
  'policy.select': ('confidence', 'argmax'),
  'eval.score': ('exact', 'anls', 'token'),
}

_SHARES = (
  'label.threshold',
  'label.held_out',
  'policy.keep',
  'data.max_bad_fraction',
) + tuple(
  f'{s}.{key}'
  for s in STAGES
  for key in ('warmup', 'end_lr_fraction', 'max_share', 'full_token_fraction')
)

_POSITIVE = (
  'model.attention_chunk',
  'model.loss_chunk',
  'model.router.hidden',
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
) + tuple(f'{s}.{key}' for s in STAGES for key in ('batch', 'accumulate'))


def validate(config) -> None:
  """Checks what can be checked before anything is built.

  Raises:
    ValueError: naming the key, what was given and what is expected.
  """

  def value(key):
    node = config
    for part in key.split('.'):
      node = node[part]
    return node

  for key, choices in _CHOICES.items():
    if value(key) not in choices:
      raise ValueError(f'{key} is {value(key)!r}, not one of {choices}')
  for key in _SHARES:
    if not 0 <= value(key) <= 1:
      raise ValueError(f'{key} is {value(key)}, not between 0 and 1')
  for key in _POSITIVE:
    if value(key) < 1:
      raise ValueError(f'{key} is {value(key)}, not at least 1')
  for stage in STAGES:
    for key in ('steps', 'learning_rate'):
      if config[stage][key] < 0:
        raise ValueError(f'{stage}.{key} is {config[stage][key]}, less than 0')
  for stage in STAGES:
    if config[stage].batch % config[stage].accumulate:
      raise ValueError(
        f'{stage}.accumulate is {config[stage].accumulate}, which does not '
        f'divide {stage}.batch, {config[stage].batch}'
      )
  if config.log.trace and not (
    len(config.log.trace) == 2
    and 0 <= config.log.trace[0] <= config.log.trace[1]
  ):
    raise ValueError(
      f'log.trace is {config.log.trace}; expected (first, last) '
      'of the steps to trace, or ()'
    )
  for key in ('data.sources', 'eval.sources') + tuple(
    f'{s}.sources' for s in STAGES
  ):
    _validate_sources(key, value(key))
  shape = layout(config)
  if not shape.optional or min(shape.optional) == 0:
    raise ValueError(
      f'model.self_layers is {shape.optional}: a VISOR model needs optional '
      'SELF layers, and the router a layer before the first'
    )
  if not shape.indices(plans.CROSS):
    raise ValueError('model.cross_layers is empty: text would not see images')
  if config.model.cross.init == 'copy' and (
    config.model.cross.module != 'attention'
  ):
    raise ValueError(
      'model.cross.init is "copy", which only the module '
      '"attention" can do; set it to "zero"'
    )
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
  for stage in STAGES:
    if config[stage].plan != 'viable':
      found = plans.parse(config[stage].plan, shape)
      if len(found) > 1 or found[0].selector == 'router':
        raise ValueError(
          f'{stage}.plan is {config[stage].plan!r}; steps run '
          'one plan, as "0,2", or "viable" ones'
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
  asked = plans.parse(config.eval.plans, shape, viable=(shape.min, shape.max))
  _validate_reduction(config, {s.selector for s in asked} == {'base'})
  jobs(config)


def _validate_reduction(config, base):
  """Token reduction inside the decoder goes with the dense base alone."""
  base_only = {
    'model.reduce': base
    and not any(config[s].steps for s in STAGES if s != 'base'),
    'eval.reduce': base,
  }
  for key, fine in base_only.items():
    for one in grammar.parse(config[key.split('.')[0]].reduce):
      one.cuts(size(config).language.depth)
      if not (one.early or fine):
        raise ValueError(
          f'{key} has "{one}", which splits the dense decoder: it goes with '
          'eval.plans "base" and, trained with, the base stage alone'
        )


def _validate_sources(key, sources):
  """They are ((name, path, weight), ...)."""
  for one in sources:
    if not (
      isinstance(one, (tuple, list))
      and len(one) == 3
      and isinstance(one[0], str)
      and isinstance(one[1], str)
      and isinstance(one[2], (int, float))
      and one[2] > 0
    ):
      raise ValueError(
        f'{key} has {one!r}; expected (name, path, weight) with '
        'a weight above 0'
      )
  names = [name for name, _, _ in sources]
  if len(set(names)) < len(names):
    raise ValueError(f'{key} has a name twice: {", ".join(names)}')
