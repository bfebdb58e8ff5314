"""visor_jax as a model of lmms-eval, for who trusts that harness alone.

  lmms-eval --model visor_jax --tasks docvqa_val --batch_size 8 \
      --model_args checkpoint=CKPT,plan=router

CKPT is what `ask` takes: an imported checkpoint, a workdir, or a Hugging Face
folder. The harness finds this file by the entry point in setup.py, group
`lmms_eval.models`; prompts, scores and totals are its own. Model arguments:

  checkpoint   needed
  plan         base, max, min, router, or optional SELF layers as 0/3/5, because
               commas part arguments; as `ask` chooses where none is given
  budget       instead of a plan: a share of what max takes
  budget_of    prefill, the default, or total: what it is a share of
  dtype        float32 or bfloat16; by default as `ask`
  tokens       most new tokens where a task names none, 1024 as in the harness's
               own models

As there, words to stop at (`until`) are left out: the end of the turn ends an
answer. One process asks one device.
"""

from collections.abc import Callable
from collections.abc import Sequence
import statistics
from typing import Any
from typing import NamedTuple

from lmms_eval.api import model as harness
from lmms_eval.models import registry_v2

from visor_jax import inference
from visor_jax.eval import answer as answer_lib
from visor_jax.runtime import console
from visor_jax.spec import shares


class Question(NamedTuple):
  """A request of the harness, as `inference.Model.generate` takes it.

  Attributes:
    prompt: the question.
    images: it is about, PIL images.
    options: keywords of `generate`.
  """

  prompt: str
  images: list
  options: dict[str, Any]


def manifest() -> registry_v2.ModelManifest:
  """What the harness asks the entry point for."""
  return registry_v2.ModelManifest(
    'visor_jax', simple_class_path='visor_jax.lmms.Visor'
  )


class Visor(harness.lmms):
  """A checkpoint that answers the harness; arguments as said above."""

  def __init__(
    self,
    checkpoint: str,
    plan: str | int | None = None,
    budget: float | None = None,
    budget_of: str = shares.PREFILL,
    dtype: str | None = None,
    tokens: int = 1024,
    batch_size: int | str = 1,
    max_batch_size: int | None = None,
    device: str | None = None,
  ):
    super().__init__()
    del max_batch_size, device  # jax chooses the device
    self._model = inference.load(checkpoint, dtype=dtype)
    self._plan = None if plan is None else str(plan).replace('/', ',')
    self._budget, self._budget_of = budget, budget_of
    self._tokens, self._size = tokens, int(batch_size)

  def generate_until(self, requests: Sequence[Any]) -> list[str]:
    """Answers in the order of the requests.

    Raises:
      ValueError: a request is about something else than images.
    """
    questions = [self._question(*request.args) for request in requests]
    answers: dict[int, answer_lib.Answer] = {}
    progress = console.Progress('lmms-eval', len(questions))
    for numbers in _groups(questions):
      for first in range(0, len(numbers), self._size):
        part = numbers[first : first + self._size]
        answers |= self._answer(questions, part)
        progress.line(len(answers))
    texts = [answers[number].text.strip() for number in range(len(questions))]
    for request, text in zip(requests, texts):
      self.cache_hook.add_partial('generate_until', request.args[:2], text)
    total, saved = (
      statistics.harmonic_mean([getattr(a, name) for a in answers.values()])
      for name in ('total_saved', 'flops_saved')
    )
    console.log(
      f'visor_jax: {len(answers)} answers of {self._model.source}, plan '
      f'{self._plan or "as it chooses"}: {total:.2f}x fewer FLOPs than base '
      f'end to end, {saved:.2f}x fewer of LLM prefill'
    )
    return texts

  def loglikelihood(self, requests: Sequence[Any]) -> list:
    """Not asked of this model."""
    raise NotImplementedError('visor_jax answers tasks of generate_until')

  def generate_until_multi_round(self, requests: Sequence[Any]) -> list:
    """Not asked of this model."""
    raise NotImplementedError('visor_jax answers tasks of generate_until')

  def _answer(
    self, questions: Sequence[Question], numbers: Sequence[int]
  ) -> dict[int, answer_lib.Answer]:
    """Answers by their numbers, of questions with the same options."""
    # As many rows each time: one program for all.
    filled = (list(numbers) * self._size)[: self._size]
    answers = self._model.generate(
      [questions[number].images for number in filled],
      [questions[number].prompt for number in filled],
      self._plan,
      budget=self._budget,
      budget_of=self._budget_of,
      **questions[numbers[0]].options,
    )
    return dict(zip(numbers, answers))

  def _question(
    self,
    prompt: str,
    options: dict[str, Any],
    visuals: Callable[[Any], Sequence | None],
    document: int,
    task: str,
    split: str,
  ) -> Question:
    """A request; its arguments in the order that the harness gives them."""
    images = list(visuals(self.task_dict[task][split][document]) or ())
    for image in images:
      if isinstance(image, str):
        raise ValueError(
          f'{task}: {image} is a file, as of a video; '
          'visor_jax is asked about images'
        )
    drawn = options.get('do_sample')
    return Question(
      prompt,
      images,
      dict(
        max_new_tokens=options.get('max_new_tokens', self._tokens),
        temperature=float(drawn and options.get('temperature') or 0),
        top_p=float(drawn and options.get('top_p') or 1),
      ),
    )


def _groups(questions: Sequence[Question]) -> list[list[int]]:
  """Numbers of the questions with the same options, large with large."""

  def size(number: int) -> tuple[int, int]:
    question = questions[number]
    pixels = sum(image.width * image.height for image in question.images)
    return pixels, len(question.prompt)

  groups: dict[str, list[int]] = {}
  for number in sorted(range(len(questions)), key=size):
    groups.setdefault(str(questions[number].options), []).append(number)
  return list(groups.values())
