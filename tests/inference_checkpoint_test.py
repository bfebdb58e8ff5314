"""A checkpoint's own word counts when it is asked, also after an export."""

import dataclasses

import numpy as np
import pytest

from tests import questions
from tests import trained as trained_lib
import visor_jax
from visor_jax.checkpoint import load
from visor_jax.convert import folders
from visor_jax.flops import cost as flops
from visor_jax.spec import plan as plans


@pytest.fixture(scope='module')
def other(tmp_path_factory):
  """A checkpoint that is nothing as a config has it by default."""
  where = tmp_path_factory.mktemp('other')
  return trained_lib.checkpoint(where / 'visor', trained_lib.base(where))


def test_a_checkpoint_is_asked_as_the_model_that_it_is(other):
  """Layers, options of CROSS and router, and packed tokens."""
  model = visor_jax.load(other)
  assert model.model.architecture == load.locate(other).facts.architecture
  images, prompt = questions.ASKED[0]
  for plan in ('max', 'min', '1'):
    logits = model.logits(images, prompt, plan)
    for change in (
      dict(layout=plans.visor(trained_lib.DEPTH, (0, 5), (2, 4))),
      dict(
        cross=dataclasses.replace(model.model.architecture.cross, rope=False)
      ),
      dict(reduction=''),
    ):
      changed = dataclasses.replace(
        model,
        model=model.model.clone(
          architecture=dataclasses.replace(model.model.architecture, **change)
        ),
      )
      off = np.abs(changed.logits(images, prompt, plan) - logits).max()
      assert off > 1e-3, (plan, change)


def test_an_answer_costs_what_its_checkpoint_takes(other):
  """Packed by two, the decoder gets half of the visual tokens."""
  model = visor_jax.load(other)
  answer = model.generate(*questions.ASKED[0], 'max', max_new_tokens=3)
  packed = flops.cost(
    model.model.architecture,
    model.model.layout.max,
    answer.visual_tokens,
    answer.text_tokens,
  )
  assert answer.llm_prefill_flops == packed.llm_prefill
  assert answer.flops_saved > 1
  assert visor_jax.load(other).generate(
    *questions.ASKED[0], max_new_tokens=3
  ).selector == ('router')


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_an_export_is_asked_as_its_checkpoint(other, dtype, tmp_path):
  """And so is what is imported of it."""
  folders.export(other, tmp_path / 'hf')
  folders.import_(tmp_path / 'hf', tmp_path / 'again')
  model = visor_jax.load(other, dtype=dtype)
  for folder in (tmp_path / 'hf', tmp_path / 'again'):
    back = visor_jax.load(folder, dtype=dtype)
    assert back.facts == model.facts and back.model == model.model
    np.testing.assert_array_equal(
      back.logits(*questions.ASKED[0], 'max'),
      model.logits(*questions.ASKED[0], 'max'),
    )
