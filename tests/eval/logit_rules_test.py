"""Rules on logits, held against transformers' own processors."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from transformers.generation import utils

from tests import rows
from visor_jax.data.processing import generation_config
from visor_jax.eval import logit_rules

VOCABULARY, TOKENS, IMAGE = 23, 6, 22
ENDS = (3, 5)
# Text, images and what was said of them; the last one is short.
PROMPTS = (
  [1, 2, IMAGE, IMAGE, IMAGE, 2, 4, 1],
  [7, 8, 9, 7, 8, 9, 7, 8, 11, 12],
  [6],
)
ANSWERS = ([2, 4, 1, 2, 4, 9], [9, 7, 8, 9, 7, 8], [6, 6, 6, 6, 6, 6])

RULES = [
  dict(repetition_penalty=1.3),
  dict(repetition_penalty=0.7),
  dict(no_repeat_ngram_size=1),
  dict(no_repeat_ngram_size=2),
  dict(no_repeat_ngram_size=3),
  dict(no_repeat_ngram_size=9),
  dict(min_length=10),
  dict(min_new_tokens=3),
  dict(suppress_tokens=[1, 9, 2]),
  dict(begin_suppress_tokens=[3, 8]),
  dict(bad_words_ids=[[7], [3], [2, 4], [9, 7, 8], [6, 6], [1, 2, 4, 1, 2, 4]]),
  dict(sequence_bias=[[[4], 1.5], [[8, 9], -2.25], [[6, 6, 6], 7.0]]),
  dict(forced_eos_token_id=[5]),
  dict(
    repetition_penalty=1.1,
    no_repeat_ngram_size=3,
    bad_words_ids=[[7], [2, 4]],
    min_new_tokens=2,
    suppress_tokens=[0],
    begin_suppress_tokens=[20],
  ),
]


def theirs(rules, prompt, so_far, logits):
  """float32 [C], of the processors that `generate` would make."""
  config = transformers.GenerationConfig(
    **rules, max_length=len(prompt) + TOKENS
  )
  config._eos_token_tensor = torch.tensor(ENDS)
  model = object.__new__(utils.GenerationMixin)
  model.config = types.SimpleNamespace(is_encoder_decoder=False)
  processors = model._get_logits_processor(config, len(prompt), device='cpu')
  ids = torch.tensor([prompt + so_far])
  return processors(ids, torch.tensor(logits[None]))[0].numpy()


@pytest.mark.parametrize('rules', RULES, ids=lambda rules: '+'.join(rules))
def test_logits_are_those_of_transformers(rules, tmp_path):
  """In rows of other lengths, at every token of an answer."""
  (tmp_path / 'generation_config.json').write_text(json.dumps(rules))
  ours = generation_config.read(tmp_path, frozenset(ENDS))
  longest = max(map(len, PROMPTS)) + TOKENS
  prompts = logit_rules.Sequences(
    jnp.array([p + [-1] * (longest - len(p)) for p in PROMPTS]),
    jnp.array([*map(len, PROMPTS)]),
  )

  @jax.jit
  def apply(logits, number):
    so_far = logit_rules.with_answers(prompts, jnp.array(ANSWERS), number)
    return logit_rules.apply(ours, logits, so_far, number, TOKENS, ENDS)

  changed = 0
  for number in range(TOKENS):
    rng = np.random.default_rng(number)
    logits = rng.standard_normal((len(PROMPTS), VOCABULARY), np.float32)
    got = np.asarray(apply(logits, number))
    for row, prompt in enumerate(PROMPTS):
      expected = theirs(rules, prompt, ANSWERS[row][:number], logits[row])
      np.testing.assert_allclose(got[row], expected, rtol=1e-6)
    changed += (got != logits).any()
  assert changed or rules == dict(no_repeat_ngram_size=9)


def test_a_prompt_has_a_token_for_every_visual_token():
  """Where it stands, whatever the slots are; padding is nothing."""
  shape = rows.Shape(text=9, visual=8, tiles=2, prompts=2)
  batch = rows.batch(('tvvvtp',), ('tttp',), shape=shape)
  prompts = logit_rules.prompts(batch, IMAGE, 2)
  tokens = batch.tokens
  expected = (
    [tokens[0, 0], IMAGE, IMAGE, IMAGE, tokens[0, 1], tokens[0, 2]],
    [*tokens[1, :4]],
  )
  for row, want in enumerate(expected):
    assert prompts.length[row] == len(want)
    assert prompts.ids[row].tolist() == want + [-1] * (19 - len(want))
