"""A model to ask: images and a prompt in, logits or text out.

model = visor_jax.load(FOLDER)
model.generate(['page.png'], 'What is the total?', plan='router')
reading = model.read(['page.png'])  # for one question after the other
"""

from collections.abc import Generator
from collections.abc import Sequence
import dataclasses
import pathlib
from typing import TypeAlias
from typing import Unpack
from typing import cast
from typing import overload

import jax
import numpy as np

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.convert import reader
from visor_jax.data import protocols
from visor_jax.data.suites import processor as processor_lib
from visor_jax.eval import answer as answer_lib
from visor_jax.eval import asked as asked_lib
from visor_jax.eval import built_in
from visor_jax.eval import plan_choice
from visor_jax.eval import reading as reading_lib
from visor_jax.families import table as families
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor
from visor_jax.reduction import grammar
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import plan as plans
from visor_jax.training import model as model_lib

CONTEXT = 4096  # of built-in suites: more than is ever asked about an image

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
  def asked(self) -> asked_lib.Checkpoint:
    """Who answers."""
    choice = plan_choice.PlanChoice(
      self.facts, self.model.architecture, self.allow_untrained
    )
    return asked_lib.Checkpoint(
      self.model, self.params, self.processor, choice, self.context
    )

  def read(self, images: Images, prefix: str = '') -> reading_lib.Reading:
    """Reads images, to be asked about with `ask` and `stream`.

    What they became is used by all questions: after the first under a plan, one
    costs what its text does. Answers are those of `generate`.

    Args:
      images: an image or a list of them, in order: paths, bytes or PIL images.
      prefix: stands in front of every first question; an <image> marker in it,
        or in the question, for every image or none.

    Raises:
      OSError: there is no such file.
      ValueError: naming the image that is broken.
    """
    return reading_lib.Reading(self.asked, _listed(images), prefix)

  def stream(
    self, images: Images, prompt: str, **options: Unpack[answer_lib.Options]
  ) -> Generator[str, None, answer_lib.Answer]:
    """`generate` in pieces of text as they come; returns the Answer.

    Args:
      images: see `read`.
      prompt: text.
      **options: see eval.answer.Options.
    """
    return self.read(images).stream(prompt, **options)

  @overload
  def logits(
    self, images: Images, prompt: str, plan: str | None = None
  ) -> np.ndarray: ...

  @overload
  def logits(
    self, images: ManyImages, prompt: Many, plan: str | None = None
  ) -> list[np.ndarray]: ...

  def logits(
    self,
    images: Images | ManyImages,
    prompt: str | Many,
    plan: str | None = None,
  ) -> np.ndarray | list[np.ndarray]:
    """Logits of the templated prompt, or of many at once.

    Args:
      images: an image or a list of them, in order: paths, bytes or PIL images;
        a list with those of each prompt, where `prompt` is a list.
      prompt: text, with an <image> marker for every image or with none.
      plan: in the grammar of plan.py, None for `max` where VISOR is trained,
        else the base; the router may not choose here.

    Returns:
      float32 [T, C], a row for every text position, in order; or a list.

    Raises:
      ValueError: naming what cannot be: a plan, an image, a prompt.
    """
    choice = self.asked.choice
    selection = choice.parse(choice.largest() if plan is None else plan)
    if selection.selector == 'router':
      raise ValueError('logits are of one plan; the router may choose many')
    many, texts = _many(images, prompt)
    if not texts:
      return []
    prompts = self.asked.pack(many, texts, 0)
    logits = prompts.logits(self.model, self.params, selection.plan)
    return logits[0] if isinstance(prompt, str) else logits

  @overload
  def generate(
    self,
    images: Images,
    prompt: str,
    plan: str | None = None,
    **options: Unpack[answer_lib.Generation],
  ) -> answer_lib.Answer: ...

  @overload
  def generate(
    self,
    images: ManyImages,
    prompt: Many,
    plan: str | None = None,
    **options: Unpack[answer_lib.Generation],
  ) -> list[answer_lib.Answer]: ...

  def generate(
    self,
    images: Images | ManyImages,
    prompt: str | Many,
    plan: str | None = None,
    **options: Unpack[answer_lib.Generation],
  ) -> answer_lib.Answer | list[answer_lib.Answer]:
    """Answers to a prompt, or to many at once.

    Args:
      images: see `logits`.
      prompt: text, or a list of texts.
      plan: in the grammar of plan.py; None for the router where it is trained,
        `max` where VISOR is, else the base.
      **options: budget, budget_of and drop, instead of a plan; max_new_tokens,
        temperature, top_p and seed; see eval.answer.Generation.

    Returns:
      An Answer, or a list of them in order.

    Raises:
      ValueError: naming what cannot be: a plan, an image, a prompt.
    """
    answers = self.asked.answers(
      *_many(images, prompt), {'plan': plan, **options}
    )
    return answers[0] if isinstance(prompt, str) else answers


def load(
  folder: pathlib.Path | str,
  *,
  dtype: str | None = None,
  allow_untrained: bool = False,
  reduce: str | None = None,
) -> Model:
  """Brings a checkpoint into memory.

  Args:
    folder: of an imported checkpoint, the workdir of a run that started from
      one, or of a base model as transformers writes it.
    dtype: of the parameters, and computed in; None for float32 on a CPU and
      bfloat16 on other devices.
    allow_untrained: gives a checkpoint without VISOR weights fresh ones, which
      add nothing yet, and lets plans run on them.
    reduce: a token reduction instead of the one that it was trained with, ''
      for none; see reduction/grammar.py.

  Raises:
    ValueError: naming the file or tensor that is wrong, or a reduction that
      there is not.
  """
  if dtype is None:
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  outline = reader.outline(folder)
  facts, architecture = outline.facts, outline.facts.architecture
  # Before the weights, which take minutes.
  processor, context = _processor(folder, outline)
  if reduce is not None:
    reduction = grammar.single(reduce)
    reduction.layers(architecture.depth)
    architecture = dataclasses.replace(architecture, reduction=str(reduction))
    grammar.size(architecture)
    processor = reduction.before_tower(processor)
  params = reader.read(folder, dtype=dtype).params
  compute = compute_lib.Compute(dtype=dtype, remat=False)
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


def _processor(
  folder: pathlib.Path | str, outline: facts_lib.Location | facts_lib.Checkpoint
) -> tuple[protocols.Processor, int]:
  """What a checkpoint makes of words and images, and its context."""
  facts, origin = outline.facts, outline.processor
  if origin is not None:
    family = families.named(facts.architecture.family)
    rows = facts.architecture.size.language.vocabulary
    ground = facts.transparency or 'white'
    context = family.read_config(origin).context
    return family.read_processor(origin, ground, rows), context
  try:
    return processor_lib.of_suite(built_in.of_run(folder).suite), CONTEXT
  except ValueError as e:
    raise ValueError(
      f'{folder} has no tokenizer and no chat template, as it does not come '
      f'from an imported checkpoint; {e}'
    ) from None


def _listed(images: Images) -> Sequence[Image]:
  return images if isinstance(images, list | tuple) else [cast(Image, images)]


def _many(
  images: Images | ManyImages, prompt: str | Many
) -> tuple[list[Sequence[Image]], Many]:
  """The images of every prompt, and the prompts."""
  if isinstance(prompt, str):
    return [_listed(cast(Images, images))], [prompt]
  many = [_listed(each) for each in cast(ManyImages, images)]
  if len(many) != len(prompt):
    raise ValueError(f'{len(prompt)} prompts with {len(many)} lists of images')
  return many, prompt
