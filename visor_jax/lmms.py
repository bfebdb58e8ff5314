"""visor_jax as a model of lmms-eval, for who trusts that harness alone.

  lmms-eval --model visor_jax --tasks docvqa_val --batch_size 8 \
      --model_args checkpoint=CKPT,plan=router

CKPT is what `ask` takes: an imported checkpoint, a workdir, or a Hugging Face
folder. The harness finds this file by the entry point in setup.py, group
`lmms_eval.models`; prompts, scores and totals are its own. Model arguments:

  checkpoint   needed
  plan         base, max, min, router, or optional SELF layers as 0/3/5, because
               commas part arguments; as `ask` chooses where none is given
  budget       instead of a plan: a share of max's LLM prefill FLOPs
  dtype        float32 or bfloat16
  tokens       most new tokens where a task names none, as 1024 in the harness's
               own LLaVA-OneVision

As there, words to stop at (`until`) are left out: the end of the turn ends an
answer. One process asks one device.
"""

import statistics

from lmms_eval.api import model as harness
from lmms_eval.models import registry_v2

from visor_jax import inference
from visor_jax.runtime import console


def manifest():
  """What the harness asks the entry point for."""
  return registry_v2.ModelManifest(
    'visor_jax', simple_class_path='visor_jax.lmms.Visor'
  )


class Visor(harness.lmms):
  """A checkpoint that answers the harness; arguments as said above."""

  def __init__(
    self,
    checkpoint: str,
    plan=None,
    budget: float | None = None,
    dtype: str = 'float32',
    tokens: int = 1024,
    batch_size=1,
    max_batch_size=None,
    device=None,
  ):
    super().__init__()
    del max_batch_size, device  # jax chooses the device
    self._model = inference.load(checkpoint, dtype=dtype)
    self._plan = None if plan is None else str(plan).replace('/', ',')
    self._budget, self._tokens, self._size = budget, tokens, int(batch_size)

  def generate_until(self, requests) -> list[str]:
    """Answers in the order of the requests."""
    asked = [self._ask(*r.args) for r in requests]
    # Those that may be as long are asked together, large with large.
    order = sorted(
      range(len(asked)),
      key=lambda i: (str(asked[i][2]), _pixels(asked[i][1]), len(asked[i][0])),
    )
    groups = {}
    for i in order:
      groups.setdefault(str(asked[i][2]), []).append(i)
    found = {}
    progress = console.Progress('lmms-eval', len(asked))
    for some in groups.values():
      for first in range(0, len(some), self._size):
        part = some[first : first + self._size]
        whole = (part * self._size)[: self._size]  # one program for all
        prompts, images, options = zip(*(asked[i] for i in whole))
        made = self._model.generate(
          list(images),
          list(prompts),
          self._plan,
          budget=self._budget,
          **options[0],
        )
        found |= dict(zip(part, made))
        progress.line(len(found))
    for i, (context, options, *_) in enumerate(r.args for r in requests):
      self.cache_hook.add_partial(
        'generate_until', (context, options), found[i].text.strip()
      )
    saved = statistics.harmonic_mean([a.flops_saved for a in found.values()])
    console.log(
      f'visor_jax: {len(found)} answers of {self._model.source}, plan '
      f'{self._plan or "as it chooses"}: {saved:.2f}x fewer LLM prefill '
      'FLOPs than base'
    )
    return [found[i].text.strip() for i in range(len(asked))]

  def _ask(self, context, options, visuals, document, task, split):
    """(prompt, images, keywords of Model.generate)."""
    images = list(visuals(self.task_dict[task][split][document]) or ())
    for image in images:
      if isinstance(image, str):
        raise ValueError(
          f'{task}: {image} is a file, as of a video; '
          'visor_jax is asked about images'
        )
    drawn = options.get('do_sample')
    return (
      context,
      images,
      dict(
        max_new_tokens=options.get('max_new_tokens', self._tokens),
        temperature=float(drawn and options.get('temperature') or 0),
        top_p=float(drawn and options.get('top_p') or 1),
      ),
    )

  def loglikelihood(self, requests):
    raise NotImplementedError('visor_jax answers tasks of generate_until')

  def generate_until_multi_round(self, requests):
    raise NotImplementedError('visor_jax answers tasks of generate_until')


def _pixels(images):
  return sum(i.width * i.height for i in images)
