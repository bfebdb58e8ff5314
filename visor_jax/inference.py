"""A model to ask: images and a prompt in, logits or text out.

model = visor_jax.load(FOLDER)
model.generate(['page.png'], 'What is the total?', plan='router')
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import time
from typing import TypeAlias
from typing import Unpack
from typing import cast
from typing import overload

import jax
import numpy as np

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.convert import reader
from visor_jax.data import protocols
from visor_jax.data.pipeline import stream
from visor_jax.eval import answer as answer_lib
from visor_jax.eval import generate
from visor_jax.eval import plan_choice
from visor_jax.eval import prompts as prompts_lib
from visor_jax.eval import sampling as sampling_lib
from visor_jax.families import table as families
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import budget as budget_lib
from visor_jax.spec import plan as plans
from visor_jax.training import model as model_lib

Image: TypeAlias = protocols.ImageLike
Images: TypeAlias = Image | Sequence[Image]
ManyImages: TypeAlias = Sequence[Images]
Many: TypeAlias = list[str] | tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A checkpoint in memory.

  Attributes:
    source: the folder it was loaded from.
    model: the network.
    params: nested.
    facts: what the checkpoint knows of itself.
    processor: what it makes of words and images.
    context: tokens of text, images and answer that a row may have.
    allow_untrained: plans may run whose CROSS weights are fresh.
  """

  source: str
  model: visor.Visor
  params: param_paths.Params
  facts: facts_lib.Facts
  processor: protocols.Processor
  context: int
  allow_untrained: bool = False

  @property
  def _choice(self) -> plan_choice.PlanChoice:
    return plan_choice.PlanChoice(
      self.facts, self.model.architecture, self.allow_untrained
    )

  @overload
  def logits(
    self, images: Images, prompt: str, plan: str = 'base'
  ) -> np.ndarray: ...

  @overload
  def logits(
    self, images: ManyImages, prompt: Many, plan: str = 'base'
  ) -> list[np.ndarray]: ...

  def logits(
    self, images: Images | ManyImages, prompt: str | Many, plan: str = 'base'
  ) -> np.ndarray | list[np.ndarray]:
    """Logits of the templated prompt, or of many at once.

    Args:
      images: an image or a list of them, in order: paths, bytes or PIL images;
        a list with those of each prompt, where `prompt` is a list.
      prompt: text, with an <image> marker for every image or with none.
      plan: in the grammar of plan.py; the router may not choose here.

    Returns:
      float32 [T, C], a row for every text position, in order; or a list.

    Raises:
      ValueError: naming what cannot be: a plan, an image, a prompt.
    """
    selection = self._choice.parse(plan)
    if selection.selector == 'router':
      raise ValueError('logits are of one plan; the router may choose many')
    prompts = self._pack(images, prompt, 0)
    logits = prompts.logits(self.model, self.params, selection.plan)
    return logits[0] if isinstance(prompt, str) else logits

  @overload
  def generate(
    self,
    images: Images,
    prompt: str,
    plan: str | None = None,
    *,
    budget: float | None = None,
    drop: float | None = None,
    max_new_tokens: int = 64,
    **draw: Unpack[answer_lib.Draw],
  ) -> answer_lib.Answer: ...

  @overload
  def generate(
    self,
    images: ManyImages,
    prompt: Many,
    plan: str | None = None,
    *,
    budget: float | None = None,
    drop: float | None = None,
    max_new_tokens: int = 64,
    **draw: Unpack[answer_lib.Draw],
  ) -> list[answer_lib.Answer]: ...

  def generate(
    self,
    images: Images | ManyImages,
    prompt: str | Many,
    plan: str | None = None,
    *,
    budget: float | None = None,
    drop: float | None = None,
    max_new_tokens: int = 64,
    **draw: Unpack[answer_lib.Draw],
  ) -> answer_lib.Answer | list[answer_lib.Answer]:
    """Answers to a prompt, or to many at once.

    Args:
      images: see `logits`.
      prompt: text, or a list of texts.
      plan: in the grammar of plan.py; None for the router where it is trained,
        else the base.
      budget: instead of a plan: a share of max's LLM prefill FLOPs. The
        router spends it on average over many questions, where it is calibrated;
        else the most expensive viable plan within it for the longest of the
        prompts.
      drop: instead of a plan: the router loses at most this share of max's
        accuracy, on average.
      max_new_tokens: the most to generate.
      **draw: temperature, top_p and seed, see eval.answer.Draw.

    Returns:
      An Answer, or a list of them in order.

    Raises:
      ValueError: naming what cannot be: a plan, an image, a prompt.
    """
    temperature, top_p = draw.get('temperature', 0.0), draw.get('top_p', 1.0)
    sampling_lib.check(max_new_tokens, temperature, top_p)
    began = time.monotonic()
    prompts = self._pack(images, prompt, max_new_tokens)
    selection = self._choice.select(plan, budget, drop, max(prompts.lengths))
    generated = self._generate(prompts, selection, max_new_tokens, draw)
    seconds = time.monotonic() - began
    answers = [
      answer_lib.build(
        self.model,
        self.processor.tokenizer,
        selection.selector,
        *generated[number],
        lengths,
        seconds,
      )
      for number, lengths in enumerate(prompts.lengths)
    ]
    return answers[0] if isinstance(prompt, str) else answers

  def _generate(
    self,
    prompts: prompts_lib.Prompts,
    selection: plans.Selection,
    max_new_tokens: int,
    draw: answer_lib.Draw,
  ) -> dict[int, tuple[plans.Plan | None, np.ndarray]]:
    """The plan that ran for each prompt, by its number, and its tokens."""
    tokenizer = self.processor.tokenizer
    sampling = sampling_lib.Sampling(
      max_new_tokens,
      (tokenizer.end, *tokenizer.stops),
      draw.get('temperature', 0.0),
      draw.get('top_p', 1.0),
      tokenizer.rules,
    )
    generated = {}
    for numbers, plan, tokens in generate.answers(
      self.model,
      self.params,
      [(list(range(len(prompts.lengths))), prompts.batch)],
      selection,
      sampling,
      jax.random.key(draw.get('seed', 0)),
      self.facts.viable,
      budget_lib.confidence(selection, self.facts.curve, self.facts.confidence),
    ):
      for number, row in zip(numbers, tokens):
        generated[number] = plan, row
    return generated

  def _pack(
    self, images: Images | ManyImages, prompt: str | Many, new_tokens: int
  ) -> prompts_lib.Prompts:
    """A prompt or all prompts in one Batch, with room for new tokens."""
    if isinstance(prompt, str):
      return self._pack([cast(Images, images)], [prompt], new_tokens)
    many = cast(ManyImages, images)
    if len(many) != len(prompt):
      raise ValueError(
        f'{len(prompt)} prompts with {len(many)} lists of images'
      )
    segments = [
      stream.question(text, _listed(each), self.processor)
      for text, each in zip(prompt, many)
    ]
    longest = max(
      segment.slots()['visual'] + segment.slots()['text']
      for segment in segments
    )
    if longest + new_tokens > self.context:
      raise ValueError(
        f'a prompt of {longest} tokens, its images included, and '
        f'{new_tokens} new ones do not fit into {self.context}'
      )
    return prompts_lib.pack(segments, self.processor)


def load(
  folder: pathlib.Path | str,
  *,
  dtype: str = 'float32',
  allow_untrained: bool = False,
) -> Model:
  """Brings a checkpoint into memory.

  Args:
    folder: of an imported checkpoint, the workdir of a run that started from
      one, or of a base model as transformers writes it.
    dtype: of the parameters, and computed in.
    allow_untrained: gives a checkpoint without VISOR weights fresh ones, which
      add nothing yet, and lets plans run on them.

  Raises:
    ValueError: naming the file or tensor that is wrong.
  """
  outline = reader.outline(folder)
  if outline.processor is None:
    raise ValueError(
      f'{folder} has no tokenizer and no chat template: it does not come '
      'from an imported checkpoint'
    )
  facts, architecture = outline.facts, outline.facts.architecture
  family = families.named(architecture.family)
  # Before the weights, which take minutes.
  processor = family.read_processor(
    outline.processor,
    facts.transparency or 'white',
    architecture.size.language.vocabulary,
  )
  context = family.read_config(outline.processor).context
  params = reader.read(folder, dtype=dtype).params
  compute = compute_lib.Compute(dtype=dtype, remat=False, packed=False)
  if not architecture.layout.optional and allow_untrained:
    layout = plans.visor(architecture.depth)
    architecture = dataclasses.replace(architecture, layout=layout)
    params = model_lib.with_fresh(
      visor.Visor(architecture, compute),
      params,
      seed=0,
      mesh=mesh_lib.make(devices=jax.devices()[:1]),
    )
  return Model(
    source=str(folder),
    model=visor.Visor(architecture, compute),
    params=params,
    facts=facts,
    processor=processor,
    context=context,
    allow_untrained=allow_untrained,
  )


def _listed(images: Images) -> Sequence[Image]:
  return images if isinstance(images, list | tuple) else [cast(Image, images)]
