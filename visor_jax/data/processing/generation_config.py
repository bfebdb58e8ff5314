"""generation_config.json: what it asks of greedy decoding, wholly read.

Every key of transformers' GenerationConfig is one of four: it acts and is done
here, see spec/generation.py; it acts and is not known here, so it is refused;
it is of another way of decoding than the likeliest token; or it changes no
token at all.
"""

import pathlib
from typing import Any

from visor_jax.runtime import json_fields
from visor_jax.spec import generation

# Acts, and what it is where it does not.
_UNKNOWN: dict[str, Any] = dict(
  constraints=None,
  encoder_no_repeat_ngram_size=0,
  encoder_repetition_penalty=1.0,
  exponential_decay_length_penalty=None,
  force_words_ids=None,
  guidance_scale=1.0,
  max_time=None,
  stop_strings=None,
  token_healing=False,
  watermarking_config=None,
)

# Another way of decoding, and what they are where it is not asked for.
_OTHER_WAYS: dict[str, Any] = dict(
  diversity_penalty=0.0,
  do_sample=False,
  dola_layers=None,
  early_stopping=False,
  epsilon_cutoff=0.0,
  eta_cutoff=0.0,
  length_penalty=1.0,
  min_p=None,
  num_beam_groups=1,
  num_beams=1,
  num_return_sequences=1,
  penalty_alpha=None,
  temperature=1.0,
  top_h=None,
  top_k=50,
  top_p=1.0,
  typical_p=1.0,
)


def fields(folder: pathlib.Path) -> json_fields.Fields:
  """What transformers reads a GenerationConfig from.

  Raises:
    ValueError: a file is broken.
  """
  path = folder / 'generation_config.json'
  if path.exists():
    return json_fields.read(path)
  config = json_fields.read_if_there(folder / 'config.json')
  text = config.fields('text_config')
  known = {k: value for k, value in config.values.items() if value is not None}
  return json_fields.Fields(dict(text.values) | known, config.where)


def read(folder: pathlib.Path, ends: frozenset[int]) -> generation.Rules:
  """The rules in a checkpoint's folder.

  Args:
    folder: of the checkpoint.
    ends: tokens that end an answer.

  Raises:
    ValueError: a key that acts is broken, or not known here.
  """
  config = fields(folder)
  for key, without in _UNKNOWN.items():
    if config.has(key) and config.values[key] != without:
      raise config.error(key, f'{without}: what else it asks is not done here')
  if config.has('repetition_penalty'):
    config.number('repetition_penalty', least=1e-6)
  return generation.Rules(
    repetition_penalty=config.number('repetition_penalty', 1.0),
    no_repeat_ngram_size=config.integer('no_repeat_ngram_size', 0, 0, 1000),
    min_length=config.integer('min_length', 0, least=0),
    min_new_tokens=config.integer('min_new_tokens', 0, least=0),
    suppress_tokens=tuple(config.integers('suppress_tokens', [])),
    begin_suppress_tokens=tuple(config.integers('begin_suppress_tokens', [])),
    sequence_bias=_biases(config, ends),
    forced_eos_token_id=tuple(config.integers('forced_eos_token_id', [])),
    image_token=_image_token(folder),
  )


def notes(folder: pathlib.Path) -> tuple[str, ...]:
  """What a person should know: keys that ask for another way of decoding."""
  config = fields(folder)
  asked = [
    f'{key} {config.values[key]}'
    for key, without in _OTHER_WAYS.items()
    if config.has(key) and config.values[key] != without
  ]
  if not asked:
    return ()
  return (
    'answers take the likeliest token, as with do_sample=False and num_beams=1 '
    f'in transformers; the checkpoint would {", ".join(asked)}',
  )


def _biases(
  config: json_fields.Fields, ends: frozenset[int]
) -> tuple[tuple[tuple[int, ...], float], ...]:
  """sequence_bias, and bad words, which are biases, too."""
  biases: dict[tuple[int, ...], float] = {}
  key = 'sequence_bias'
  for item in _items(config, key):
    if not (isinstance(item, list) and len(item) == 2):
      raise config.error(key, 'lists of tokens and a bias')
    pair = json_fields.Fields({'tokens': item[0], 'bias': item[1]}, key + ': ')
    biases[_word(pair, 'tokens')] = pair.number('bias')
  for number, item in enumerate(_items(config, 'bad_words_ids')):
    where = f'{config.where}bad_words_ids, number {number}: '
    word = _word(json_fields.Fields({'tokens': item}, where), 'tokens')
    if not (len(word) == 1 and word[0] in ends):  # as transformers does
      biases[word] = float('-inf')
  return tuple(biases.items())


def _word(config: json_fields.Fields, key: str) -> tuple[int, ...]:
  tokens = config.integers(key)
  if tokens != config.values[key] or not 0 < len(tokens) <= 100:
    raise config.error(key, 'one to a hundred tokens')
  return tuple(tokens)


def _items(config: json_fields.Fields, key: str) -> list[Any]:
  """A list of at most a thousand; an empty one where there is none."""
  items = config.values.get(key)
  if items is None:
    return []
  if not isinstance(items, list) or not 0 < len(items) <= 1000:
    raise config.error(key, 'a list of one to a thousand')
  return items


def _image_token(folder: pathlib.Path) -> int:
  """The token that stands for an image, as either transformers names it."""
  config = json_fields.read_if_there(folder / 'config.json')
  newer = config.integer('image_token_id', -1, least=-1)
  return config.integer('image_token_index', newer, least=-1)
