"""generation_config.json: every key is done, refused or said to be ignored."""

import json

import pytest
import transformers

from visor_jax.data.processing import generation_config
from visor_jax.spec import generation

# They change no token where the likeliest is taken, or are asked for elsewhere:
# how many there may be at most, what is given back, how it is computed.
HARMLESS = set(
  """
  assistant_confidence_threshold assistant_early_exit assistant_ensemble_weight
  assistant_lookbehind bos_token_id cache_config cache_implementation
  compile_config continuous_batching_config decoder_start_token_id
  disable_compile eos_token_id forced_bos_token_id is_assistant low_memory
  max_cache_len max_length max_matching_ngram_size max_new_tokens
  num_assistant_tokens num_assistant_tokens_schedule output_attentions
  output_hidden_states output_logits output_scores pad_token_id
  prefill_chunk_size prompt_lookup_num_tokens remove_invalid_values
  renormalize_logits return_dict_in_generate speculation_type target_lookbehind
  transformers_version use_cache use_mtp
  """.split()
)


def read(folder, **fields):
  (folder / 'generation_config.json').write_text(json.dumps(fields))
  return generation_config.read(folder, frozenset({3}))


def test_every_key_of_transformers_is_known():
  """A new one must be looked at: it may change answers."""
  done = {*generation.Rules.__dataclass_fields__, 'bad_words_ids'}
  known = (
    done
    | HARMLESS
    | generation_config._UNKNOWN.keys()
    | generation_config._OTHER_WAYS.keys()
  )
  theirs = vars(transformers.GenerationConfig())
  assert {key for key in theirs if not key.startswith('_')} <= known


def test_no_file_is_no_rule(tmp_path):
  rules = generation_config.read(tmp_path, frozenset())
  assert rules == generation.Rules() and not rules.act
  assert not generation_config.notes(tmp_path)


def test_old_folders_have_rules_in_their_config(tmp_path):
  """As transformers reads it where there is no generation_config.json."""
  config = dict(
    repetition_penalty=1.2, text_config=dict(min_new_tokens=2, top_k=9)
  )
  (tmp_path / 'config.json').write_text(json.dumps(config))
  rules = generation_config.read(tmp_path, frozenset())
  assert rules == generation.Rules(repetition_penalty=1.2, min_new_tokens=2)
  assert not read(tmp_path, max_new_tokens=9).act


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(guidance_scale=1.5), 'guidance_scale is 1.5; expected 1.0'),
    (dict(encoder_repetition_penalty=1.1), 'is 1.1; expected 1.0'),
    (dict(stop_strings=['.']), "stop_strings is .'.'.; expected None"),
    (dict(token_healing=True), 'token_healing is True'),
    (dict(repetition_penalty=0), 'repetition_penalty is 0; expected'),
    (dict(repetition_penalty='1'), "repetition_penalty is '1'; expected"),
    (dict(suppress_tokens=[1, -2]), 'suppress_tokens is .1, -2.; expected'),
    (dict(min_new_tokens=1.5), 'min_new_tokens is 1.5; expected an integer'),
    (dict(bad_words_ids=[]), 'bad_words_ids is ..; expected'),
    (dict(bad_words_ids=[3]), 'number 0: tokens is 3; expected one to a'),
    (dict(bad_words_ids=[['a']]), 'bad_words_ids, number 0: tokens is'),
    (dict(sequence_bias=[[[1]]]), 'sequence_bias is .*; expected lists'),
    (dict(sequence_bias=[[[1], 'x']]), "bias is 'x'; expected a finite"),
  ],
)
def test_what_acts_and_is_not_done_is_refused_by_name(
  fields, message, tmp_path
):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, **fields)


def test_other_ways_of_decoding_are_said(tmp_path):
  """Not refused: the evaluation takes the likeliest token, as lmms-eval."""
  rules = read(tmp_path, do_sample=True, temperature=0.7, top_k=50, num_beams=4)
  assert not rules.act
  (note,) = generation_config.notes(tmp_path)
  assert note.endswith('would do_sample True, num_beams 4, temperature 0.7')
