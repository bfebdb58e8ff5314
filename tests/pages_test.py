"""The base stage of experiments/pages.py learns to read."""

import pathlib
import runpy

import jax
from jax import numpy as jnp
import numpy as np
import pytest

from visor_jax.checkpoint import load
from visor_jax.data.processing import packing
from visor_jax.data.suites.pages import page as page_lib
from visor_jax.data.suites.pages import questions
from visor_jax.data.suites.pages import suite as suite_lib
from visor_jax.jobs import table
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor

EXPERIMENT = pathlib.Path(__file__).parents[1] / 'experiments/pages.py'
PAGES, BATCH = 512, 128


def unseen(family, count):
  """Rows of the test split: a full page and one question about a line."""
  scale = page_lib.SCALES['small']
  suite = suite_lib.Suite(0)
  for index in range(count):
    rng = np.random.default_rng(index)
    page = page_lib.full(rng, scale, True, scale.lines)
    while not page.written:
      page = page_lib.full(rng, scale, True, scale.lines)
    lines = list(map(int, rng.permutation(scale.lines)))
    question = questions.ask(rng, page, family, lines)
    example = suite._example(rng, 'test', index, page, [question])
    talk = suite.words.conversation(example.turns)
    yield packing.row(
      [suite._segment(example, talk)], suite_lib.row_shape(scale, 1)
    )


@pytest.mark.drill
def test_lines_are_read_and_numbers_found_after_the_base_stage(tmp_path):
  """What all else rests on; a quarter of an hour of a core."""
  config = runpy.run_path(str(EXPERIMENT))['get_config']('jobs=base')
  table.run_jobs(config, tmp_path)
  checkpoint = load.load(tmp_path)
  model = visor.Visor(
    checkpoint.facts.architecture, compute_lib.Compute(remat=False)
  )

  @jax.jit
  def right(batch):
    """Whether every token of an answer is the likeliest behind those before."""
    logits = model.apply({'params': checkpoint.params}, batch, None)
    guess = jnp.argmax(logits[:, :-1], -1) == batch.tokens[:, 1:]
    return jnp.all(guess | ~batch.answer[:, 1:], axis=1)

  for family in ('line', 'value'):  # a guess is 1 in 24, and 1 in 8
    rows = list(unseen(family, PAGES))
    batches = (rows[i : i + BATCH] for i in range(0, PAGES, BATCH))
    read = np.concatenate([right(packing.stack(batch)) for batch in batches])
    assert read.mean() >= 0.6, family
