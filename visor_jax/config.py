"""Every key of a run, once, with its default and what it means.

An experiment is a file with `get_config(arg)`: it takes `default()`, sets
values and opens with its command, hardware, hours and expected number.
"""

from collections.abc import Mapping

import ml_collections
from ml_collections.config_dict import placeholder

from visor_jax.runtime import identity
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.training import stage as stage_lib
from visor_jax.training import stages


def _stage(stage: stage_lib.Stage) -> ml_collections.ConfigDict:
  """Keys of a training stage."""
  c = ml_collections.ConfigDict()
  c.steps = 0  # 0 leaves the stage out; the next starts from the one before
  c.batch = 64  # rows of the global batch
  c.accumulate = 1  # parts of a batch, one after the other, in less memory
  c.learning_rate = 1e-3  # at its highest
  c.warmup = 0.03  # share of the steps with a rising learning rate
  c.end_lr_fraction = 0.0  # the cosine ends at this share of the learning rate
  c.plan = stage.plan  # of each step: base, viable, or one as max, min, 0,2
  c.max_share = 0.0  # with plan viable: this share of steps runs the largest
  c.full_token_fraction = 0.0  # first share of steps without model.reduce
  c.sources = ()  # of this stage; () for those of data
  c.update(stage.keys)  # what it has beside, see training/stages.py
  return c


def default() -> ml_collections.ConfigDict:
  """All keys with their defaults, locked: an unknown key is an error."""
  c = ml_collections.ConfigDict(sort_keys=False)  # stages are in order
  c.seed = 0  # everything random is a function of it and of the step
  c.jobs = 'all'  # which jobs to run: all, or names joined by '+'

  c.model = m = ml_collections.ConfigDict()
  m.init_from = ''  # a checkpoint or finished run to start from; '' for none
  # What the model is (see spec/architecture.py). A key that is None is the
  # checkpoint's own word, or what its comment names first.
  m.size = ''  # a name of a size; '' for the checkpoint's, or 0.5b
  m.cross_layers = None  # CROSS layers: every third from layer 1
  m.self_layers = None  # optional SELF layers: every third from layer 2
  m.cross = ml_collections.ConfigDict()
  m.cross.module = placeholder(str)  # attention; names in cross_attention.CROSS
  m.cross.key_heads = placeholder(str)  # base: as many as it has; or full
  m.cross.norm = placeholder(bool)  # True: RMSNorm on text and visual tokens
  m.cross.rope = placeholder(bool)  # False: rotary positions
  m.cross.conv = placeholder(bool)  # True: positional convolution for keys
  m.cross.init = 'zero'  # output at zero, or copy: the layer's own q, k, v, o
  m.last_visual = placeholder(bool)  # True: refine an image nobody reads on
  m.reduce = placeholder(str)  # '': all visual tokens; see reduction/grammar.py
  m.router = ml_collections.ConfigDict()
  m.router.token = placeholder(str)  # learned; or last (of prompt), visual
  m.router.hidden = placeholder(int)  # 128: width of the router's MLP
  # How it is computed.
  m.dtype = 'float32'  # computed in; parameters are float32
  m.remat = True  # recompute layers in the backward pass
  m.remat_policy = 'input'  # kept of a layer; or dots: products too
  m.scan = True  # scan layers that repeat
  m.attention = 'auto'  # by backend; or chunked, flash, splash
  m.attention_chunk = 512  # queries and keys scored at a time by chunked
  m.loss_chunk = 512  # text slots whose logits are held at a time in training

  # {axis: devices along it}, see AXES of runtime/mesh.py.
  c.mesh = ml_collections.ConfigDict(mesh_lib.AXES)

  c.data = d = ml_collections.ConfigDict()
  d.suite = 'digits'  # or pages, built in too; '' for sources
  # (name, path, weight) of each source of conversations, see readers.py.
  d.sources = ()
  d.packed = ml_collections.ConfigDict()  # slots that conversations share
  d.packed.text = 2048
  d.packed.visual = 18432  # images leave few holes in it, see bin_packing
  d.packed.tiles = 64
  d.packed.prompts = 32
  d.prompt = ml_collections.ConfigDict()  # slots of a question asked alone
  d.prompt.text = 768
  # Any image alone, which takes 8765; with text a multiple of 1024, to be
  # halved.
  d.prompt.visual = 9472
  d.prompt.tiles = 37
  d.window = 1024  # conversations that are packed together
  d.max_bad_fraction = 0.01  # share of bad records at which a run stops
  d.digits = ml_collections.ConfigDict()
  d.digits.frames = 1  # of a clip, ten visual tokens each
  # Scenes at the start of a stage that are only read out.
  d.digits.primers = ml_collections.ConfigDict(dict(base=0, cross=0, full=0))
  d.pages = ml_collections.ConfigDict()
  d.pages.scale = 'small'  # or large, for model.size pages-448 and a GPU
  d.pages.unseen = ''  # of the test: typeface or kind, never learned from
  # Pages at the start of a stage, of each of PRIMERS of its suite.
  d.pages.primers = ml_collections.ConfigDict(
    dict(base=(), cross=(), full=(), universal=())
  )
  # What lies behind transparent images: white, as transformers has it from
  # version 5 on; stored: the colour in the file, mostly black, as LLaVA-NeXT
  # trained; or black.
  d.transparency = 'white'
  d.threads = 1  # that prepare batches ahead
  d.planners = 0  # processes of a host that plan rows beside them
  d.prefetch = 4  # batches prepared ahead

  c.optim = ml_collections.ConfigDict()
  # adamw; or muon for matrices of layers, which a small model learns from in
  # half of the steps, with adamw for the rest.
  c.optim.name = 'adamw'
  c.optim.b1 = 0.9
  c.optim.b2 = 0.98
  # Of the mean of gradients; bfloat16 saves two bytes of a parameter, and
  # rounds what the mean is carried on in.
  c.optim.mu_dtype = 'float32'
  c.optim.weight_decay = 0.0  # the paper uses none
  # Whether a parameter decays, by its path, first match counts: no norms and no
  # biases, as in transformers' Trainer.
  c.optim.weight_decay_mask = (('.*(scale|bias)', False), ('.*', True))
  c.optim.clip = 1.0  # global norm of the gradient; 0 for none
  # A step whose loss or gradient is not finite is not applied; so many in a row
  # stop the run.
  c.optim.max_nonfinite_steps = 10
  # Learning rate factors by parameter path, first match counts.
  c.optim.lr_scales = (('vision/.*', 1.0), ('.*', 1.0))

  for stage in stages.STAGES.values():
    c[stage.name] = _stage(stage)

  c.search = ml_collections.ConfigDict()
  c.search.examples = 512  # questions per plan
  c.search.sources = ()  # of the questions; () for those of data
  c.search.exhaustive = 5  # up to so many optional layers try every plan
  c.search.budget = 0  # at most so many plans are evaluated; 0: no limit
  # Viable plans, the smallest and largest among them, and so the outputs of the
  # router: part of what the model is. None: the checkpoint's word, or 9.
  c.search.max_plans = placeholder(int)

  c.label = ml_collections.ConfigDict()
  c.label.examples = 4096  # questions
  c.label.sources = ()  # of the questions; () for those of data
  c.label.score = 'exact'  # or anls, relaxed, token
  c.label.threshold = 0.99  # right: this share of the best plan's score
  c.label.all_wrong = 'skip'  # or cheapest: the label where no plan is right
  c.label.held_out = 0.25  # share of labels kept to calibrate the router

  c.eval = ml_collections.ConfigDict()
  c.eval.examples = 4096  # questions, half coarse, half fine
  c.eval.plans = 'base+all+router'  # in the grammar of plan.py
  c.eval.reduce = ''  # each of these beside what it was trained with
  c.eval.batch = 128  # questions answered at a time
  c.eval.chunk = 1024  # questions after which results are written
  c.eval.measure = True  # time to first token, tokens/s and peak memory, too
  c.eval.score = 'exact'  # or anls, relaxed, token
  c.eval.sources = ()  # test questions: the first one of each conversation
  c.eval.coarse = ()  # names of the sources that are coarse; others are fine
  c.eval.max_new_tokens = 64  # of an answer at most, to a question in words
  # Instead of sources: hard, easy, all, or names of benchmarks/table.py by '+'
  c.eval.benchmarks = ''
  c.eval.data = 'benchmarks'  # folder with one for each benchmark
  c.eval.checkpoint = ''  # a workdir or imported checkpoint, not this workdir

  c.checkpoint = ml_collections.ConfigDict()
  c.checkpoint.every = 500  # steps
  c.checkpoint.keep = 2  # newest checkpoints of a stage

  c.log = ml_collections.ConfigDict()
  c.log.every = 50  # steps
  c.log.writers = 'jsonl'  # of metrics; joined by +: jsonl, tensorboard, wandb
  c.log.wandb = 'visor_jax'  # project at Weights & Biases
  c.log.trace = ()  # (first, last) step of a profiler trace, in STAGE/trace

  c.compilation_cache = 'compiled'  # in the workdir, of programs; '' for none
  return c.lock()


def from_identity(
  saved: Mapping[str, identity.Value],
) -> ml_collections.ConfigDict:
  """The config with an `identity.identity`; other keys have their defaults."""
  return identity.restore(saved, default())


_BOOLS = {'true': True, '1': True, 'false': False, '0': False}
_MOST = 100_000  # of an argument: steps times it are still counted
_EXPECTED = {
  bool: 'True or False',
  int: f'a whole number above 0, at most {_MOST:,}',
  float: f'a number above 0, at most {_MOST:,}',
  str: 'text',
}

_Argument = bool | int | float | str


def parse_arg(
  arg: str | None, **defaults: _Argument | tuple[str, ...]
) -> ml_collections.ConfigDict:
  """Reads the text behind the colon of `--config=file.py:a=1,b=x`.

  Args:
    arg: 'key=value' pairs joined by commas, or None.
    **defaults: the keys there are, and their values when not given; a value
      is read as the type of its default, and a number is above 0. A tuple has
      all that a key may be, its default first.

  Returns:
    ConfigDict of the keys.

  Raises:
    ValueError: an unknown key, or a value that it cannot have.
  """
  choices = {k: each for k, each in defaults.items() if isinstance(each, tuple)}
  values = ml_collections.ConfigDict(
    defaults | {key: first for key, (first, *_) in choices.items()}
  )
  for pair in filter(None, (arg or '').split(',')):
    key, _, value = pair.partition('=')
    if key not in values:
      raise ValueError(
        f'config argument "{pair}": keys are {", ".join(defaults)}'
      )
    type_, allowed = type(values[key]), choices.get(key)
    try:
      values[key] = _parsed(value, type_, allowed)
    except (KeyError, ValueError):
      expected = f'one of {", ".join(allowed)}' if allowed else _EXPECTED[type_]
      raise ValueError(
        f'config argument "{pair}": {key} is {value!r}; expected {expected}'
      ) from None
  return values


def _parsed(
  text: str, type_: type, choices: tuple[str, ...] | None
) -> _Argument:
  """The value that a text means; a KeyError or ValueError where it is none."""
  if type_ is bool:
    return _BOOLS[text.lower()]
  value = type_(text)
  if choices and value not in choices:
    raise ValueError
  if type_ is not str and not 0 < value <= _MOST:
    raise ValueError
  return value


# Of the recipe for clips of handwriting: steps, learning rate, and the share of
# it that is left at the end.
_DIGITS = {
  'base': (500, 2e-3, 0.5),
  'cross': (80, 2e-3, 0.5),
  'full': (2400, 2e-3, 0.5),
  'universal': (1400, 2e-3, 0.05),
  'policy': (600, 2e-3, 0.05),
}
# Steps of the full stage that only ask to read, as all steps before it do.
_READING = 400


def digits(frames: int, share: float = 1.0) -> ml_collections.ConfigDict:
  """The recipe for clips of handwriting, see docs/digits.md.

  Args:
    frames: of a clip.
    share: of all steps.
  """
  part = lambda steps: max(1, round(share * steps))
  c = default()
  c.model.size = 'digits'
  c.model.remat = False  # the model is small
  c.model.cross_layers, c.model.self_layers = (4,), (2, 3)
  c.data.digits.frames = frames
  c.optim.name = 'muon'
  for stage, (steps, rate, final) in _DIGITS.items():
    c[stage].steps, c[stage].batch = part(steps), 32
    c[stage].learning_rate, c[stage].end_lr_fraction = rate, final
  c.data.digits.primers.update(
    base=c.base.steps * c.base.batch,
    cross=c.cross.steps * c.cross.batch,
    full=part(_READING) * c.full.batch,
  )
  c.universal.max_share = 0.25  # min has most to learn
  c.label.examples = 8192
  c.policy.keep = 0.995  # some of it is lost on questions it has not seen
  return c


def published(jobs: str) -> ml_collections.ConfigDict:
  """The recipe for a published base on shards of one's own.

  Steps and rates are the paper's, where it gives them.

  Args:
    jobs: what to run, as of `default`.
  """
  c = default()
  c.jobs = jobs
  c.data.suite = ''
  c.data.threads = 8
  c.optim.lr_scales = (('vision/.*', 0.2), ('.*', 1.0))
  for stage, steps, rate in (
    ('connector', 0, 1e-3),
    ('cross', 31_250, 1e-3),
    ('full', 25_000, 1e-5),
    ('universal', 25_000, 1e-5),
    ('policy', 2_000, 1e-3),
  ):
    c[stage].steps = steps
    c[stage].learning_rate = rate
    c[stage].batch = 128
  c.eval.plans = 'base+all+router'
  c.eval.batch = 16
  return c


def shorten(c: ml_collections.ConfigDict) -> None:
  """Makes a `published` recipe go through all of it in a few steps."""
  c.data.threads = 2
  for stage in ('cross', 'full', 'universal', 'policy'):
    c[stage].steps, c[stage].batch = 6, 4
  c.connector.batch = 4
  c.data.window = 64
  c.search.examples = c.label.examples = c.eval.examples = 16
  c.eval.chunk, c.eval.max_new_tokens = 16, 8
  c.label.all_wrong = 'cheapest'  # so little training leaves few labels
  c.log.every, c.checkpoint.every = 2, 3
