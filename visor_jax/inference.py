"""A model to ask: images and a prompt in, logits or text out.

  model = visor_jax.load(FOLDER)
  model.generate(['page.png'], 'What is the total?', plan='router')

Shapes are rounded up to buckets, so that few programs serve all questions.
"""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.convert import config as config_lib
from visor_jax.convert import reader
from visor_jax.data.processing import images as images_lib
from visor_jax.data.processing import packing
from visor_jax.data.processing import text as text_lib
from visor_jax.data.sources import image_files
from visor_jax.eval import generate
from visor_jax.flops import cost as flops
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import budget as budget_lib
from visor_jax.spec import plan as plans
from visor_jax.training import model as model_lib


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a prompt got.

  Attributes:
    text: up to the end of the turn.
    selector: who chose the plan: fixed, router or base.
    plan: which optional SELF layers ran; None for the base.
    tokens: that were made, the end of the turn included.
    visual_tokens: of the images.
    text_tokens: of the templated prompt.
    llm_prefill_flops: nominal, routing included, see flops.NOMINAL.
    flops_saved: the base's over these.
    cache_bytes: that the prompt keeps while tokens come.
    seconds: for the whole call, compiling included where a plan or a bucket
      was new.
  """

  text: str
  selector: str
  plan: plans.Plan | None
  tokens: int
  visual_tokens: int
  text_tokens: int
  llm_prefill_flops: int
  flops_saved: float
  cache_bytes: int
  seconds: float


def bucket(count: int, least: int = 8) -> int:
  """The next of 1, 1.25, 1.5, 1.75 times a power of two: at most 25 % more."""
  size = least
  while size < count:
    quarter = max(1, (1 << (size.bit_length() - 1)) // 4)
    size += quarter
  return size


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A checkpoint in memory.

  Attributes:
    source: the folder it was loaded from.
    model: the network.
    params: nested.
    text: the checkpoint's tokenizer and chat template.
    recipe: how it cuts images.
    longest: slots of text, image and answer that a row may have.
    trained: what is trained beside the base: 'cross', 'router'.
    viable: plans that the router chooses from, by cost.
    confidence: of its choice.
    curve: of its calibration, see budget.py.
    allow_untrained: plans may run whose CROSS weights are fresh.
    transparency: what lies behind transparent images, see
      image_files.GROUNDS.
  """

  source: str
  model: visor.Visor
  params: dict
  text: text_lib.Tokenizer
  recipe: images_lib.Recipe
  longest: int
  trained: tuple[str, ...] = ()
  viable: tuple[plans.Plan, ...] = ()
  confidence: float | None = None
  curve: tuple[budget_lib.Point, ...] = ()
  allow_untrained: bool = False
  transparency: str = 'white'

  def logits(self, images, prompt, plan: str = 'base'):
    """Logits of the templated prompt, or of many at once.

    Args:
      images: an image or a list of them, in order: paths, bytes or PIL images;
        a list with those of each prompt, where `prompt` is a list.
      prompt: text, with an <image> marker for every image or with none.
      plan: in the grammar of plan.py; the router may not choose here.

    Returns:
      float32 [T, C], a row for every text position, in order; or a list.
    """
    if isinstance(prompt, str):
      return self.logits([images], [prompt], plan)[0]
    selection = self._selection(plan)
    if selection.selector == 'router':
      raise ValueError('logits are of one plan; the router may choose many')
    batch, sizes = self._batch(images, prompt, 0)
    found = np.asarray(_logits(self.model, self.params, batch, selection.plan))
    return [row[:text] for row, (_, text) in zip(found, sizes)]

  def generate(
    self,
    images,
    prompt,
    plan: str | None = None,
    *,
    budget: float | None = None,
    drop: float | None = None,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
  ):
    """Answers to a prompt, or to many at once.

    Args:
      images: see `logits`.
      prompt: text, or a list of texts.
      plan: in the grammar of plan.py; None for the router where it is trained,
        else the base.
      budget: instead of a plan: a share of max's LLM prefill FLOPs. The
        router spends it on average over many questions, where it is calibrated;
        else the dearest viable plan within it for the longest of the prompts.
      drop: instead of a plan: the router loses at most this share of max's
        accuracy, on average.
      max_new_tokens: the most to make.
      temperature: 0 takes the likeliest token.
      top_p: see generate.Sampling.
      seed: of the draw.

    Returns:
      An Answer, or a list of them in order.

    Raises:
      ValueError: naming what cannot be: a plan, an image, a prompt.
    """
    if isinstance(prompt, str):
      return self.generate(
        [images],
        [prompt],
        plan,
        budget=budget,
        drop=drop,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        top_p=top_p,
        seed=seed,
      )[0]
    began = time.monotonic()
    batch, sizes = self._batch(images, prompt, max_new_tokens)
    selection = self._wanted(plan, budget, drop, sizes)
    sampling = generate.Sampling(
      max_new_tokens, (self.text.end, *self.text.stops), temperature, top_p
    )
    made = {}
    for ids, chosen, tokens in generate.answers(
      self.model,
      self.params,
      [(list(range(len(prompt))), batch)],
      selection,
      sampling,
      jax.random.key(seed),
      self.viable,
      budget_lib.confidence(selection, self.curve, self.confidence),
    ):
      made |= {i: (chosen, row) for i, row in zip(ids, tokens)}
    seconds = time.monotonic() - began
    return [
      self._answer(*made[i], selection, batch, *sizes[i], seconds)
      for i in range(len(prompt))
    ]

  def _answer(self, plan, tokens, selection, batch, visual, text, seconds):
    routing = int(selection.selector == 'router')
    architecture = self.model.architecture
    cost = generate.prefill_flops(architecture, plan, visual, text, routing)
    base = generate.prefill_flops(architecture.base, None, visual, text)
    cache = flops.cache(
      architecture,
      plan,
      visual,
      text,
      jnp.dtype(self.model.compute.dtype).itemsize,
    )
    return Answer(
      self.text.decode(tokens.tolist()),
      selection.selector,
      plan,
      generate.count(tokens, tuple(self.text.stops)),
      visual,
      text,
      cost,
      base / cost,
      sum(cache),
      seconds,
    )

  def _selection(self, plan: str | None) -> plans.Selection:
    """The one selection that is meant; only what is trained may be chosen."""
    if plan is None:
      plan = 'router' if 'router' in self.trained else 'base'
    if (
      plan != 'base'
      and 'cross' not in self.trained
      and (not self.allow_untrained)
    ):
      raise ValueError(
        f'plan "{plan}": VISOR is untrained in this checkpoint, which can '
        'only answer with plan base; train it, or ask all the same with '
        '--allow-untrained (allow_untrained=True)'
      )
    if plan.startswith('router') and 'router' not in self.trained:
      raise ValueError(
        f'plan "{plan}": the router is untrained in this '
        'checkpoint; name a plan or give a budget'
      )
    found = plans.parse(plan, self.model.layout, self.viable)
    if len(found) != 1:
      raise ValueError(f'plan "{plan}" means {len(found)} plans; ask for one')
    return found[0]

  def _wanted(self, plan, budget, drop, sizes):
    """The selection that is asked for in one of three ways."""
    if (plan, budget, drop).count(None) < 2:
      raise ValueError('give a plan or a budget or a drop, one of them')
    if drop is not None:
      self._selection('router')  # is it trained?
      return plans.Selection('router', drop=drop)
    if budget is None:
      return self._selection(plan)
    if self.curve and 'router' in self.trained:
      return plans.Selection('router', budget=budget)
    return self._within(budget, sizes)

  def _within(self, budget, sizes):
    """The most expensive viable plan within the budget."""
    self._selection('max')  # is VISOR trained?
    visual, text = max(sizes)
    layout = self.model.layout
    architecture = self.model.architecture
    largest = generate.prefill_flops(architecture, layout.max, visual, text)
    shares = {
      plan: generate.prefill_flops(architecture, plan, visual, text) / largest
      for plan in self.viable or (layout.min, layout.max)
    }
    return plans.Selection('fixed', budget_lib.most_expensive(shares, budget))

  def _batch(self, images, prompts, new_tokens):
    """One Batch of all prompts, and (visual, text) tokens of each."""
    if len(images) != len(prompts):
      raise ValueError(
        f'{len(prompts)} prompts with {len(images)} lists of images'
      )
    segments = []
    for own, prompt in zip(images, prompts):
      own = own if isinstance(own, (list, tuple)) else [own]
      talk = self.text.prompt(prompt, len(own))
      opened = [image_files.open_image(i, self.transparency) for i in own]
      image_plans = images_lib.plans(
        self.recipe, [(i.height, i.width) for i in opened]
      )
      tiles = [images_lib.tiles(i, p) for i, p in zip(opened, image_plans)]
      segments.append(
        packing.segment_of_images(talk, tiles, image_plans, self.recipe.patches)
      )
    sizes = [
      (len(s.gather_index), len(s.conversation.tokens)) for s in segments
    ]
    need = max(v + t for v, t in sizes) + new_tokens
    if need > self.longest:
      raise ValueError(
        f'a prompt of {need - new_tokens} tokens, its images included, and '
        f'{new_tokens} new ones do not fit into {self.longest}'
      )
    shape = batch_lib.RowShape(
      text=bucket(max(t for _, t in sizes)),
      visual=bucket(max(v for v, _ in sizes)),
      tiles=bucket(max(len(s.tiles) for s in segments), 1),
      prompts=1,
      tile=(self.recipe.tile,) * 2,
      patches=self.recipe.patches,
      taps=4,
    )
    rows = packing.stack([packing.row([s], shape) for s in segments])
    return rows.map(jnp.asarray), sizes


def load(
  folder, *, dtype: str = 'float32', allow_untrained: bool = False
) -> Model:
  """Brings a checkpoint into memory.

  Args:
    folder: of an imported checkpoint, the workdir of a run that started from
      one, or of LLaVA-OneVision as transformers writes it.
    dtype: of the parameters, and computed in.
    allow_untrained: gives a checkpoint without VISOR weights fresh ones, which
      add nothing yet, and lets plans run on them.

  Raises:
    ValueError: naming the file or tensor that is wrong.
  """
  found = reader.read(folder, dtype=dtype)
  facts, params = found.facts, found.params
  architecture = facts.architecture
  compute = compute_lib.Compute(dtype=dtype, remat=False, packed=False)
  model = visor.Visor(architecture, compute)
  if not architecture.layout.optional and allow_untrained:
    layout = plans.visor(architecture.depth)
    model = visor.Visor(
      dataclasses.replace(architecture, layout=layout), compute
    )
    params = _filled(model, params, dtype)
  if found.processor is None:
    raise ValueError(
      f'{folder} has no tokenizer and no chat template: it does not come '
      'from a LLaVA-OneVision checkpoint'
    )
  config = config_lib.read(found.processor).config
  text = config.get('text_config', {})
  return Model(
    str(folder),
    model,
    params,
    text_lib.Tokenizer(found.processor),
    images_lib.read(found.processor),
    text.get('max_position_embeddings', 32_768),
    facts.trained,
    facts.viable,
    facts.confidence,
    facts.curve,
    allow_untrained,
    facts.transparency or 'white',
  )


def _filled(model, params, dtype):
  """The parameters, and fresh ones where there are none."""
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  flat = param_paths.flatten(params)
  fresh = jax.tree.map(
    lambda x: x.astype(dtype),
    model_lib.init_params(model, 0, mesh, known=flat.keys()),
  )
  return param_paths.unflatten(flat | param_paths.flatten(fresh))


@functools.partial(jax.jit, static_argnames=('model', 'plan'))
def _logits(model, params, batch, plan):
  return model.apply({'params': params}, batch, plan)
