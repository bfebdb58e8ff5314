"""A checkpoint's tokenizer: as transformers reads it, and within bounds."""

import json
import time

import pytest
import transformers

from tests import llava_files
from visor_jax.data.processing import encoder

TEXTS = (
  "It's n\u00e3o na\u0303o 12 + 345,  two\n\n\u4f60\u597d \U0001f600?",
  '<|im_start|>user\nhm<|im_end|> <image>',
  'x' * 300,
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('processor')
  llava_files.write_processor(folder)
  return folder


def settings(folder, to, **changes):
  """tokenizer.json with other fields, in a folder of its own."""
  fields = json.loads((folder / 'tokenizer.json').read_text()) | changes
  (to / 'tokenizer.json').write_text(json.dumps(fields))
  return to


def slow_files(folder, to, config):
  """The files of a tokenizer before there was tokenizer.json."""
  model = json.loads((folder / 'tokenizer.json').read_text())['model']
  (to / 'vocab.json').write_text(json.dumps(model['vocab']), 'utf-8')
  merges = '\n'.join(' '.join(pair) for pair in model['merges'])
  (to / 'merges.txt').write_text(f'#version: 0.2\n{merges}\n', 'utf-8')
  (to / 'tokenizer_config.json').write_text(json.dumps(config))
  return to


@pytest.mark.parametrize('added', ['added_tokens_decoder', 'added_tokens.json'])
def test_vocabulary_and_merges_are_the_tokenizer(folder, tmp_path, added):
  config = json.loads((folder / 'tokenizer_config.json').read_text())
  if added == 'added_tokens.json':
    numbers = {
      token['content']: int(number)
      for number, token in config.pop('added_tokens_decoder').items()
    }
    (tmp_path / added).write_text(json.dumps(numbers))
  slow_files(folder, tmp_path, config)
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
  slow, fast = encoder.Encoder(tmp_path), encoder.Encoder(folder)
  for text in TEXTS:
    tokens = slow.encode(text)
    assert tokens == fast.encode(text) == theirs(text).input_ids
    assert slow.decode(tokens) == theirs.decode(
      tokens, skip_special_tokens=True
    )


def test_vocabulary_and_merges_of_another_tokenizer(folder, tmp_path):
  slow_files(folder, tmp_path, dict(tokenizer_class='LlamaTokenizer'))
  with pytest.raises(ValueError, match='expected Qwen2Tokenizer, or a token'):
    encoder.Encoder(tmp_path)
  added = {'7000': dict(content='<far>', special=True)}
  slow_files(
    folder,
    tmp_path,
    dict(tokenizer_class='Qwen2Tokenizer', added_tokens_decoder=added),
  )
  with pytest.raises(ValueError, match='"<far>" should be token 7000, but'):
    encoder.Encoder(tmp_path)
  (tmp_path / 'vocab.json').unlink()
  with pytest.raises(FileNotFoundError, match='nor vocab.json and merges'):
    encoder.Encoder(tmp_path)


def test_half_a_character_is_no_text(folder):
  """As a shell passes on bytes that are no UTF-8."""
  with pytest.raises(ValueError, match='is no Unicode text: character 4 is'):
    encoder.Encoder(folder).encode('caf \udcff')


def test_tokens_beyond_the_embedding_are_no_words(folder):
  """transformers raises an IndexError; here it is said which."""
  words = encoder.Encoder(folder, rows=300)
  assert words.encode('the') and encoder.Encoder(folder).encode('<image>')
  with pytest.raises(ValueError, match='"<image>" is token .* has 300 rows'):
    words.encode('an <image> here')
  (note,) = words.notes
  assert 'the embedding 300 rows: texts with "' in note
  assert not encoder.Encoder(folder).notes


SLOW = r'\w*\w*(?=\W\W)'
PANIC = r'(a+)+$'


def split(pattern):
  return dict(
    type='Split',
    pattern=dict(Regex=pattern),
    behavior='Isolated',
    invert=False,
  )


def test_a_pattern_takes_no_more_than_its_time(folder, tmp_path, monkeypatch):
  """What it has taken once it is not given again."""
  monkeypatch.setattr(encoder, 'SECONDS', 0.2)
  settings(folder, tmp_path, pre_tokenizer=split(SLOW))
  words = encoder.Encoder(tmp_path)
  text = 'ab' * 700 + ' e'
  with pytest.raises(ValueError, match='more than 0.2 s for 1402 characters'):
    words.encode(text)
  start = time.monotonic()
  with pytest.raises(ValueError, match='nothing more is encoded'):
    words.encode(text)
  assert time.monotonic() - start < 0.1


@pytest.mark.parametrize('length', [90, 2000])
def test_where_the_library_panics_there_is_an_error(folder, tmp_path, length):
  settings(folder, tmp_path, pre_tokenizer=split(PANIC))
  with pytest.raises(ValueError, match='tokenizer fails on "aaaa'):
    encoder.Encoder(tmp_path).encode('a' * length + 'c')


@pytest.mark.parametrize(
  'text, message',
  [
    ('{', 'cannot be read'),
    ('[' * 99999, 'cannot be read'),
    ('{"model": 3}', 'cannot be read'),
    ('\x00', 'cannot be read'),
  ],
)
def test_a_broken_file_is_named(tmp_path, text, message):
  (tmp_path / 'tokenizer.json').write_text(text)
  with pytest.raises(ValueError, match=message) as e:
    encoder.Encoder(tmp_path)
  assert str(tmp_path) in str(e.value)


def test_texts_do_not_grow_without_end(folder, tmp_path):
  longer = dict(type='Replace', pattern=dict(String='a'), content='a' * 99)
  rules = dict(type='Sequence', normalizers=[longer] * 9)
  settings(folder, tmp_path, normalizer=rules)
  with pytest.raises(ValueError, match='make a text .* times as long'):
    encoder.Encoder(tmp_path)
