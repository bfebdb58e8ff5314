"""Images that have been read, to be asked about more than once.

  reading = model.read(['page.png'])
  reading.ask('What is the total?')
  reading.ask('Who signed it?', plan='max')

What an image becomes depends on what stands before it, on itself and on the
plan, and on nothing that comes after. So the vision tower runs once, and what
layers make of images once for each plan; of questions that follow the text
alone is run.
"""

from collections.abc import Collection
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import time
from typing import Generic
from typing import NamedTuple
from typing import TypeVar
from typing import Unpack

import jax
import numpy as np

from visor_jax.data import protocols
from visor_jax.data.pipeline import questions
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.eval import answer as answer_lib
from visor_jax.eval import asked as asked_lib
from visor_jax.eval import costs
from visor_jax.eval import generate
from visor_jax.eval import pieces
from visor_jax.eval import plan_groups
from visor_jax.eval import prompts as prompts_lib
from visor_jax.flops import cost as flops
from visor_jax.models import backbone
from visor_jax.models import caches as caches_lib
from visor_jax.spec import budget as budget_lib
from visor_jax.spec import plan as plans

CHUNK = 4  # tokens from one piece of a text to the next

# Where images stand in a prompt, and the tokens before the last of them.
Before = tuple[tuple[int, ...], bytes]
T = TypeVar('T')


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
  """A question, with its images, in a Batch of one row."""

  packed: prompts_lib.Prompts
  before: Before
  original: costs.Images | None  # of images that were made smaller

  @property
  def lengths(self) -> tuple[int, int]:
    """(visual tokens, text tokens)."""
    return self.packed.lengths[0]

  @property
  def size(self) -> costs.PromptSize:
    """With the tiles of its images."""
    return costs.PromptSize(*self.lengths, self.packed.images[0], self.original)


class _Behind(NamedTuple, Generic[T]):
  """What images became behind what stood before them."""

  before: Before
  images: T


class _Routing(NamedTuple):
  """What the router's layers made of images, and left of them."""

  caches: caches_lib.SpanImages
  visual: jax.Array  # [1, V, D]


class Reading:
  """Images in memory, for one question after the other; see `Model.read`.

  Of the router and of every plan that has answered it holds what their layers
  made of the images, behind what stood before them in the last question: the
  bytes of visual slots in `Answer.cache_bytes`.
  """

  def __init__(
    self,
    checkpoint: asked_lib.Checkpoint,
    images: Sequence[protocols.ImageLike],
    prefix: str = '',
  ):
    processor = checkpoint.processor
    opened = [processor.open_image(image) for image in images]
    sizes = [(image.height, image.width) for image in opened]
    self._checkpoint, self._prefix = checkpoint, prefix
    cut = processor.cut(opened, sizes)
    self._plans: Sequence[processed.ImagePlan] = [each.plan for each in cut]
    self._original = None
    if processor.original is not processor:
      self._original = costs.of_plans(processor.original.plans(sizes))
    tiles = [each.tiles for each in cut]
    packed = prompts_lib.of_images(tiles, self._plans, processor)
    self._tiles = packed.batch.tiles
    self.patches: backbone.PatchFeatures = generate.read_tiles(
      checkpoint.model, checkpoint.params, self._tiles, packed.batch.tile_grid
    )
    tower, connector = costs.vision_flops(
      checkpoint.model.architecture, packed.images[0]
    )
    self._tower_flops = tower  # that no answer has told yet
    self._connector_flops = connector
    self._of_plan: dict[
      plans.Plan | None, _Behind[tuple[caches_lib.SpanImages, ...]]
    ] = {}
    self._of_router: _Behind[_Routing] | None = None

  def ask(
    self, question: str, **options: Unpack[answer_lib.Options]
  ) -> answer_lib.Answer:
    """The answer to a question about the images.

    Args:
      question: text, with an <image> marker for every image or with none.
      **options: see eval.answer.Options.

    Raises:
      ValueError: naming what cannot be: a plan, a question, its length.
    """
    chunk = options.get('max_new_tokens', answer_lib.MAX_NEW_TOKENS)
    return pieces.drain(self._answer(question, options, chunk))

  def stream(
    self, question: str, **options: Unpack[answer_lib.Options]
  ) -> Generator[str, None, answer_lib.Answer]:
    """`ask`, in pieces of text as they come; returns the Answer."""
    return self._answer(question, options, CHUNK)

  def _answer(
    self, question: str, options: answer_lib.Options, chunk: int
  ) -> Generator[str, None, answer_lib.Answer]:
    """Pieces of the answer, each of so many tokens."""
    began = time.monotonic()
    asked = self._checkpoint
    model, tokenizer = asked.model, asked.processor.tokenizer
    sampling, key = answer_lib.sampling(tokenizer, options)
    prompt = self.prompt(question, options, sampling.tokens)
    selection = asked.choice.select(options, prompt.size)
    read, plan, ran = self.prefill(prompt, selection)
    tokens: list[int] = []

    def answers() -> Iterator[list[int]]:
      for rows in generate.grow(
        model,
        asked.params,
        prompt.packed.batch,
        read,
        plan,
        sampling,
        key,
        chunk,
      ):
        tokens[:] = rows[0].tolist()
        yield tokens

    yield from pieces.of_text(answers(), tokenizer.decode)
    return answer_lib.build(
      model,
      tokenizer,
      selection.selector,
      plan,
      np.asarray(tokens),
      prompt.size,
      ran,
      time.monotonic() - began,
    )

  def prompt(
    self, question: str, options: answer_lib.Options, new_tokens: int
  ) -> Prompt:
    """The row of a question that follows others with their answers."""
    processor = self._checkpoint.processor
    turns = [*options.get('history', ()), (question, '')]
    turns[0] = self._prefix + turns[0][0], turns[0][1]
    talk = questions.follow_up(
      turns,
      len(self._plans),
      processor.tokenizer,
      options.get('system', ''),
    )
    blank = [np.zeros((plan.tiles, 0, 0, 3), np.uint8) for plan in self._plans]
    segment = packing.segment_of_images(
      talk, blank, self._plans, processor.patches
    )
    prompts_lib.require_room([segment], new_tokens, self._checkpoint.context)
    packed = prompts_lib.pack([segment], processor, self._tiles)
    end = max(talk.image_at, default=0)
    before = talk.image_at, talk.tokens[:end].tobytes()
    return Prompt(packed, before, self._original)

  def prefill(
    self, prompt: Prompt, selection: plans.Selection
  ) -> tuple[generate.Prompt, plans.Plan | None, costs.Ran]:
    """Reads a prompt; also says under which plan, and what ran for it."""
    if selection.selector == 'router':
      return self._prefill_routed(prompt, selection)
    asked, plan, batch = self._checkpoint, selection.plan, prompt.packed.batch
    images = self._images(plan, prompt)
    read = generate.prefill(asked.model, asked.params, batch, plan, images)
    self._keep(read, plan, prompt)
    known = range(asked.model.architecture.depth) if images.caches else ()
    return read, plan, self.ran(prompt, plan, known)

  def _prefill_routed(
    self, prompt: Prompt, selection: plans.Selection
  ) -> tuple[generate.Prompt, plans.Plan | None, costs.Ran]:
    """`_prefill` under the plan that the router chooses."""
    asked, batch = self._checkpoint, prompt.packed.batch
    facts, model = asked.choice.facts, asked.model
    routing = _recall(self._of_router, prompt)
    images = caches_lib.ReadImages(
      self.patches, (routing.caches,) if routing else ()
    )
    scores, routed = generate.route(model, asked.params, batch, images)
    (number,) = plan_groups.choose(
      scores,
      batch,
      facts.viable,
      budget_lib.confidence(selection, facts.curve, facts.confidence),
      model.size.vision.patches,
    )
    plan = facts.viable[number]
    if (
      routing is None
      and model.architecture.router.token != 'visual'
      and not model.reduction.reads_question
    ):
      (caches,) = generate.of_images((routed.caches,), (routed.token_layout,))
      self._of_router = _Behind(
        prompt.before, _Routing(caches, routed.hidden.visual)
      )
    images = self._images(plan, prompt)
    if routing and not images.caches:
      hidden = routed.hidden._replace(visual=routing.visual)
      routed = routed._replace(hidden=hidden)
    read = generate.resume(model, asked.params, routed, batch, plan, images)
    self._keep(read, plan, prompt)
    split, depth = model.before_self, model.architecture.depth
    known = [
      *(range(split) if routing else ()),
      *(range(split, depth) if images.caches else ()),
    ]
    return read, plan, self.ran(prompt, plan, known, routing=1)

  def _images(
    self, plan: plans.Plan | None, prompt: Prompt
  ) -> caches_lib.ReadImages:
    """What is known of the images under a plan, where this prompt has them."""
    caches = _recall(self._of_plan.get(plan), prompt) or ()
    return caches_lib.ReadImages(self.patches, caches)

  def _keep(
    self, read: generate.Prompt, plan: plans.Plan | None, prompt: Prompt
  ) -> None:
    """Keeps what a plan's layers made of the images, for the next question."""
    model = self._checkpoint.model
    reduction, depth = model.reduction, model.architecture.depth
    # Which tokens stay depends on the question.
    if reduction.reads_question or plan is None and reduction.layers(depth):
      return
    if _recall(self._of_plan.get(plan), prompt) is None:
      _, state = read
      caches = generate.of_images(state.caches, state.token_layouts)
      self._of_plan[plan] = _Behind(prompt.before, caches)

  def ran(
    self,
    prompt: Prompt,
    plan: plans.Plan | None,
    known: Collection[int],
    routing: int = 0,
  ) -> costs.Ran:
    """What ran for a prompt; the tower, for the first one."""
    architecture = self._checkpoint.model.architecture
    tower, self._tower_flops = self._tower_flops, 0
    connector = 0 if 0 in known else self._connector_flops
    prefill = flops.llm_prefill(
      architecture,
      plan,
      *prompt.lengths,
      known,
      tiles=sum(prompt.size.images),
      routing=routing,
    )
    return costs.Ran(tower + connector, prefill)


def _recall(behind: _Behind[T] | None, prompt: Prompt) -> T | None:
  """What is known, if the prompt has the same text before its images."""
  return behind.images if behind and behind.before == prompt.before else None
