"""One question to a folder's model before it is imported, in shapes alone.

All that an answer needs is read on the way: tokenizer, chat template, recipe of
images, rules of generation. No weight is.
"""

import jax
import PIL.Image

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.data.pipeline import questions
from visor_jax.eval import generate
from visor_jax.eval import prompts as prompts_lib
from visor_jax.eval import sampling as sampling_lib
from visor_jax.families import table as families
from visor_jax.models import compute
from visor_jax.models import visor
from visor_jax.runtime import console
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import batch as batch_lib
from visor_jax.training import model as model_lib

QUESTION = 'What is in the picture?'
SIZE = 640, 480  # of the picture in pixels
TOKENS = 2  # of the answer: the first is the prompt's, the second the cache's


def rehearse(outline: facts_lib.Checkpoint) -> None:
  """Asks, and says what a person should know of the answers.

  Args:
    outline: of convert.hf.outline.

  Raises:
    OSError: a file is missing or cannot be read.
    ValueError: a file is broken, or asks for what is not done here.
  """
  architecture, folder = outline.facts.architecture, outline.processor
  if folder is None:
    raise ValueError('there is no folder with a tokenizer')
  family = families.named(architecture.family)
  processor = family.read_processor(
    folder,
    outline.facts.transparency or 'white',
    architecture.size.language.vocabulary,
  )
  tokenizer = processor.tokenizer
  for note in tokenizer.notes:
    console.log(note)
  question = questions.segment(
    QUESTION, [PIL.Image.new('RGB', SIZE)], processor
  )
  prompts = prompts_lib.pack([question], processor)
  (length,) = map(sum, prompts.lengths)
  context = family.read_config(folder).context
  if length + TOKENS > context:
    raise ValueError(
      f'{folder / "config.json"}: max_position_embeddings is {context}; a '
      f'question about a picture takes {length}'
    )
  model = visor.Visor(architecture, compute.Compute(remat=False))
  if outline.facts.trained:
    _check_shapes(model, outline)
  sampling = sampling_lib.Sampling(
    TOKENS, (tokenizer.end, *tokenizer.stops), rules=tokenizer.rules
  )

  def answer(params: generate.Params, batch: batch_lib.Batch) -> jax.Array:
    logits, state = generate.prefill(model, params, batch, None)
    return generate.decode(
      model, params, batch, logits, state, None, sampling, jax.random.key(0)
    )

  jax.eval_shape(answer, outline.params, prompts.batch)


def _check_shapes(model: visor.Visor, outline: facts_lib.Checkpoint) -> None:
  """Every parameter that the model has, with its shape, and no others.

  Raises:
    ValueError: naming those that are not so; only VISOR's own can be, the
      others' tensors have been looked at.
  """
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  expected = {
    path: x.shape
    for path, x in param_paths.flatten(
      model_lib.abstract_params(model, mesh)
    ).items()
    if outline.facts.holds(path)
  }
  given = {
    path: x.shape for path, x in param_paths.flatten(outline.params).items()
  }
  wrong = sorted(
    path
    for path in expected.keys() | given.keys()
    if expected.get(path) != given.get(path)
  )
  if wrong:
    raise ValueError(
      f'{outline.processor} has not the parameters of its model: '
      + ', '.join(
        f'{path} {given.get(path)}, not {expected.get(path)}'
        for path in wrong[:20]
      )
    )
