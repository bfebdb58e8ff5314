"""A checkpoint that is asked: prompts with images in, answers out."""

from collections.abc import Sequence
import dataclasses
import time

from visor_jax.data import protocols
from visor_jax.data.pipeline import questions
from visor_jax.eval import answer as answer_lib
from visor_jax.eval import costs
from visor_jax.eval import generate
from visor_jax.eval import plan_choice
from visor_jax.eval import prompts as prompts_lib
from visor_jax.models import visor
from visor_jax.spec import budget as budget_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
  """Who answers.

  Attributes:
    model: the network.
    params: nested.
    processor: what the checkpoint makes of words and images.
    choice: the plans it can answer under.
    context: tokens of text, images and answer that a row may have.
  """

  model: visor.Visor
  params: generate.Params
  processor: protocols.Processor
  choice: plan_choice.PlanChoice
  context: int

  def pack(
    self,
    images: Sequence[Sequence[protocols.ImageLike]],
    texts: Sequence[str],
    new_tokens: int,
  ) -> prompts_lib.Prompts:
    """Prompts in one Batch, with room for new tokens.

    Args:
      images: those of each prompt.
      texts: the prompts.
      new_tokens: that an answer may have.

    Raises:
      OSError: there is no such image.
      ValueError: naming what cannot be.
    """
    segments = [
      questions.segment(text, each, self.processor)
      for text, each in zip(texts, images, strict=True)
    ]
    prompts_lib.require_room(segments, new_tokens, self.context)
    return prompts_lib.pack(segments, self.processor)

  def answers(
    self,
    images: Sequence[Sequence[protocols.ImageLike]],
    texts: Sequence[str],
    options: answer_lib.Options,
  ) -> list[answer_lib.Answer]:
    """Answers to prompts, in order; arguments and errors as of `pack`."""
    if not texts:
      return []
    began = time.monotonic()
    tokenizer, facts = self.processor.tokenizer, self.choice.facts
    sampling, key = answer_lib.sampling(tokenizer, options)
    prompts = self.pack(images, texts, sampling.tokens)
    longest, tiles = max(zip(prompts.lengths, prompts.images))
    selection = self.choice.select(options, costs.PromptSize(*longest, tiles))
    generated = {}
    for numbers, plan, tokens in generate.answers(
      self.model,
      self.params,
      [(list(range(len(texts))), prompts.batch)],
      selection,
      sampling,
      key,
      facts.viable,
      budget_lib.confidence(selection, facts.curve, facts.confidence),
    ):
      for number, row in zip(numbers, tokens):
        generated[number] = plan, row
    seconds = time.monotonic() - began
    routing = int(selection.selector == 'router')
    return [
      answer_lib.build(
        self.model,
        tokenizer,
        selection.selector,
        *generated[number],
        costs.PromptSize(*lengths, tiles, self._original(images[number])),
        costs.ran(
          self.model.architecture,
          generated[number][0],
          lengths,
          tiles,
          routing,
        ),
        seconds,
      )
      for number, (lengths, tiles) in enumerate(
        zip(prompts.lengths, prompts.images)
      )
    ]

  def _original(
    self, images: Sequence[protocols.ImageLike]
  ) -> costs.Images | None:
    """What images are that the processor makes smaller."""
    original = self.processor.original
    if original is self.processor:
      return None
    opened = [original.open_image(image) for image in images]
    return costs.of_plans(
      original.plans([(image.height, image.width) for image in opened])
    )
