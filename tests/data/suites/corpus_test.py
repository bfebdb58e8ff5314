"""Rows and questions of a run: from its config alone, whatever is bad."""

import json

import numpy as np
import pytest

from tests import llava_files
from tests import pictures
from visor_jax.data.prepare import writer
from visor_jax.data.processing import text
from visor_jax.data.sources import readers
from visor_jax.data.sources import records
from visor_jax.data.suites import corpus
from visor_jax.families.llava_onevision import processor
from visor_jax.spec import batch as batch_lib

ROW = dict(text=300, visual=200, tiles=24, prompts=12)
PROMPT = dict(text=80, visual=110, tiles=37)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A checkpoint's tokenizer and recipe of images."""
  folder = tmp_path_factory.mktemp('hf')
  llava_files.write_processor(folder)
  (folder / 'config.json').write_text(json.dumps(llava_files.config()))
  return folder


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
  folder = tmp_path_factory.mktemp('desk')
  pictures.write(folder, 40)
  writer.prepare(
    readers.open_source(folder / 'train.json', folder), folder / 'shards', 1
  )
  return str(folder / 'shards')


@pytest.fixture(scope='module')
def words(tmp_path_factory):
  """Text alone; its third question is longer than any row."""
  path = tmp_path_factory.mktemp('words') / 'words.jsonl'

  def talk(question, answer):
    return [
      {'from': 'human', 'value': question},
      {'from': 'gpt', 'value': answer},
    ]

  path.write_text(
    ''.join(
      json.dumps(
        dict(
          id=f'w{i}',
          conversations=talk(
            f'Is sign {i} red? ' * (40 * (i == 2) + 1), f'Sign {i}.'
          ),
        )
      )
      + '\n'
      for i in range(9)
    )
  )
  return str(path)


@pytest.fixture
def make(folder, shards, words):
  def make(seed=3, bad=0.5, prompt=PROMPT, **mixtures):
    both = (('desk', shards, 3.0), ('words', words, 1.0))
    settings = corpus.Settings(
      packed=ROW,
      prompt=prompt,
      window=32,
      max_bad_fraction=bad,
      answer_tokens=6,
      coarse=('words',),
    )
    mixtures = mixtures or dict(full=both, cross=both, test=both)
    return corpus.Corpus(
      seed,
      {stream: mixture(*parts) for stream, parts in mixtures.items()},
      processor.read(folder),
      settings,
    )

  return make


def mixture(*parts):
  return corpus.Mixture(
    tuple(
      corpus.NamedSource(readers.open_source(path), name)
      for name, path, _ in parts
    ),
    tuple(weight for *_, weight in parts),
  )


def rows(suite, stream, count=12):
  load = suite.training(stream)
  return [load(i)[0] for i in range(count)]


def same(a, b):
  return all(np.array_equal(a[name], b[name]) for name in batch_lib.NAMES)


def test_rows_are_a_function_of_seed_and_stream(make):
  first = rows(make(), 'full')
  assert all(map(same, first, rows(make(), 'full')))
  assert not any(map(same, first, rows(make(), 'cross')))
  assert not any(map(same, first, rows(make(seed=4), 'full')))
  assert all(row['answer'].any() for row in first)
  assert max(row['text_segment'].max() for row in first) > 2


def test_what_is_not_used_is_counted(make, words):
  suite = make()
  assert suite.counts == {}
  load = suite.training('full')
  (packed,) = suite._windows
  for window in range(3):
    load(window * packed.rows)
  longs = [k for k in range(96) if packed.order.draw(k)[:2] == (1, 2)]
  assert longs and suite.counts['long'] == len(longs)


def test_a_question_is_the_prompt_alone(make, folder):
  """As `ask` writes it, with the name that the config gives the source."""
  suite, tokenizer, seen = make(), text.Tokenizer(folder), set()
  for i in range(24):
    row, raw = suite.prompt('test', i)
    turn = raw.turns[0]
    want = tokenizer.prompt(turn.question, turn.question.count('<image>'))
    got = row['tokens'][row['text_segment'] == 1]
    np.testing.assert_array_equal(got, want.tokens)
    assert not row['answer'].any()
    assert row['prompt_segment'].tolist() == [1]
    assert (row['visual_segment'] > 0).any() == ('<image>' in turn.question)
    seen.add((turn.family, suite.group(turn.family)))
    assert same(row, make().prompt('test', i)[0])
  assert seen == {('desk', 'fine'), ('words', 'coarse')}


def test_a_question_that_cannot_be_used_is_replaced(make, words):
  """By the same one in every run; the others stay as they are."""
  short = PROMPT | dict(text=400)
  suite, roomy = make(), make(prompt=short)
  replaced = []
  for i in range(60):
    (_, got), (_, want) = suite.prompt('test', i), roomy.prompt('test', i)
    assert (got.id == want.id) == (want.id != 'w2')
    replaced += [i] * (want.id == 'w2')
    assert got.id != 'w2'
  assert replaced and suite.counts == {'bad': len(replaced)}
  again = make()
  for i in replaced:
    assert again.prompt('test', i)[1].id == suite.prompt('test', i)[1].id


def test_where_nothing_can_be_used_the_last_reason_is_told(make):
  suite = make(prompt=PROMPT | dict(text=3), bad=1.0)
  with pytest.raises(
    ValueError,
    match='100 records drawn for question 7 '
    'cannot be used, the last: a row has 3 text slots',
  ):
    suite.prompt('test', 7)


def test_answers_are_read_to_their_end(make, folder):
  suite, tokenizer = make(), text.Tokenizer(folder)
  talk = tokenizer.conversation([records.Turn('Is it?', 'A sign.', '')], 0)
  answer = talk.tokens[talk.answer].tolist()
  assert answer[-1] in suite.ends and suite.answer_tokens == 6
  assert suite.decode(answer + answer) == 'A sign.'


def test_fingerprints_are_by_stream_and_source(make, shards, words):
  suite = make(full=(('a', shards, 1.0),), test=(('b', words, 1.0),))
  assert suite.fingerprints == {
    'full/a': readers.open_source(shards).fingerprint,
    'test/b': readers.open_source(words).fingerprint,
  }


def test_a_stream_that_was_not_opened_is_named_with_those_that_were(make):
  for ask in (make().training, lambda stream: make().prompt(stream, 0)):
    with pytest.raises(ValueError, match='"base".*opened were full, cross'):
      ask('base')
