"""Rows and questions of a run: from its config alone, whatever is bad."""

import json

import numpy as np
import pytest

from tests import llava_files
from tests import pictures
from visor_jax.data import fits
from visor_jax.data.pipeline import order
from visor_jax.data.prepare import writer
from visor_jax.data.processing import text
from visor_jax.data.sources import readers
from visor_jax.data.sources import records
from visor_jax.data.suites import corpus
from visor_jax.families.llava_onevision import processor
from visor_jax.jobs import labels
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
  packed = suite._windows['full']
  for window in range(3):
    load(window * packed.rows)
  longs = [k for k in range(96) if packed.order.draw(k)[:2] == (1, 2)]
  assert longs and suite.counts['long'] == len(longs)


def test_a_question_is_the_prompt_alone(make, folder):
  """As `ask` writes it, with the name that the config gives the source."""
  suite, tokenizer, seen = make(), text.Tokenizer(folder), set()
  for i in suite.fit('test', 24).numbers:
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


# Each question once ----------------------------------------------------------

ROOMY = PROMPT | dict(text=400)


def test_no_record_is_asked_twice(make):
  """Nor are there more questions than records, whatever the weights."""
  suite = make(prompt=ROOMY)
  fit = suite.fit('test', 1000)
  ids = [suite.prompt('test', i)[1].id for i in range(fit.count)]
  assert len(set(ids)) == fit.count == 49 and fit.wanted == 1000
  assert fit.notes() == (
    'test has 49 questions, each asked once; 1000 were asked for',
  )
  assert suite.fit('test', 49).notes() == ()
  with pytest.raises(ValueError, match='test has 49 questions; .* number 49'):
    suite.prompt('test', 49)


def test_a_dataset_that_a_mixture_has_twice_is_asked_once(
  make, words, tmp_path
):
  """Else its questions would count twice, and be learned and held out."""
  (tmp_path / 'twice.yaml').write_text(
    f'datasets:\n- json_path: {words}\n- json_path: {words}\n'
    '  sampling_strategy: first:4\n'
  )
  suite = make(prompt=ROOMY, test=(('a', str(tmp_path / 'twice.yaml'), 1.0),))
  fit = suite.fit('test', 13)
  ids = [suite.prompt('test', i)[1].id for i in fit.numbers]
  assert len(ids) == len(set(ids)) == 9 and fit.left_out['repeated'] == 4
  assert fit.notes() == (
    '4 of 13 questions of test are asked before, of the same record',
  )


def test_labels_that_are_held_out_are_of_other_records(make, words):
  """They are cut by draw, and no draw repeats a record."""
  suite = make(prompt=ROOMY, label=(('words', words, 1.0),))
  rows = [
    dict(index=i, id=suite.prompt('label', i)[1].id, family='words')
    for i in suite.fit('label', 4096).numbers
  ]
  learned, held_out = labels.parts(rows, 0.25)
  assert len(learned) == 7 and len(held_out) == 2
  assert not {r['id'] for r in learned} & {r['id'] for r in held_out}


def test_the_records_behind_rows_and_questions_have_names(make):
  suite = make(bad=0.0)
  assert suite.record_ids('test', 3) == (
    f'{suite.prompt("test", 3)[1].turns[0].family}: '
    f'{suite.prompt("test", 3)[1].id}',
  )
  load = suite.training('full')
  for row in range(4):
    ids = suite.record_ids('full', row)
    assert len(ids) == load(row)[0]['text_segment'].max() > 0
    assert all(': ' in name for name in ids)


# What does not fit -----------------------------------------------------------


def test_what_does_not_fit_is_known_before_anything_is_asked(make):
  """And what would hold all."""
  roomy = make(prompt=ROOMY)
  (long,) = [i for i in range(49) if roomy.prompt('test', i)[1].id == 'w2']
  fit = make().fit('test', 49)
  assert fit.too_long == (long,) and long not in fit.numbers
  assert len(fit.numbers) == 48 and fit.slots == PROMPT
  assert fit.needed['text'] > PROMPT['text']
  assert fit.notes() == (
    '1 of 49 questions of test do not fit data.prompt; '
    f'text={fit.needed["text"]}, visual={fit.needed["visual"]}, '
    f'tiles={fit.needed["tiles"]} would hold all',
  )
  assert make(prompt=fit.needed).fit('test', 49).too_long == ()
  less = fit.needed | dict(visual=fit.needed['visual'] - 1)
  assert make(prompt=less).fit('test', 49).too_long


def test_a_question_that_does_not_fit_is_not_replaced(make):
  """Nor is it a bad record; the others stay as they are."""
  suite, roomy = make(bad=0.0), make(prompt=ROOMY)
  fit = suite.fit('test', 49)
  for i in range(49):
    want = roomy.prompt('test', i)[1].id
    if i in fit.too_long:
      with pytest.raises(
        fits.TooLong, match='a row has 80 text slots for .*data.prompt'
      ) as e:
        suite.prompt('test', i)
      assert e.value.needed['text'] == fit.needed['text']
    else:
      assert suite.prompt('test', i)[1].id == want
  assert suite.counts == {} and fit.too_long


# What is broken --------------------------------------------------------------


@pytest.fixture
def broken(tmp_path):
  """Twenty texts, of which three have no answer."""
  path = tmp_path / 'broken.jsonl'
  path.write_text(
    ''.join(
      json.dumps(
        dict(
          id=f'b{i}',
          messages=[
            dict(role='user', content=f'Is it {i}?'),
            dict(role='assistant', content=' ' * (i in (3, 8, 15)) or 'Yes.'),
          ],
        )
      )
      + '\n'
      for i in range(20)
    )
  )
  return (('broken', str(path), 1.0),)


@pytest.mark.parametrize('asked', [8, 20])
def test_a_broken_question_is_not_asked_nor_another_one_twice(
  make, broken, asked
):
  """Known before anything is trained, and with the first reason."""
  suite = make(test=broken)
  drawn = order.OnePass('3/test', [20], [1.0])
  first = [f'b{drawn.draw(i).index}' for i in range(asked)]
  fit = suite.fit('test', asked)
  lost = {i for i in range(asked) if first[i] in ('b3', 'b8', 'b15')}
  assert lost and fit.broken.keys() == lost
  assert fit.numbers == tuple(i for i in range(asked) if i not in lost)
  asked_ids = [suite.prompt('test', i)[1].id for i in fit.numbers]
  assert asked_ids == [first[i] for i in fit.numbers]
  (note,) = fit.notes()
  assert note.startswith(
    f'{len(lost)} of {asked} questions of test are of broken records; the '
    f'first: {first[min(lost)]}: empty answer: broken.jsonl line '
  )
  assert suite.counts == {}


def test_an_image_that_cannot_be_decoded_is_known_before_anything_is_asked(
  make, shards, monkeypatch
):
  """No length tells; the others are asked as they were, and none twice."""
  test = (('desk', shards, 1.0),)
  suite = make(test=test)
  records_ = [suite.prompt('test', i)[1] for i in range(20)]
  victim = next(i for i in range(20) if records_[i].images)
  opens = processor.Processor.open_image

  def fail(self, source):
    if source == records_[victim].images[0]:
      raise ValueError('image: the image cannot be opened')
    return opens(self, source)

  monkeypatch.setattr(processor.Processor, 'open_image', fail)
  suite = make(test=test)
  fit = suite.fit('test', 20)
  assert list(fit.broken) == [victim] and fit.left_out['broken'] == 1
  assert f'{records_[victim].id}: broken image: ' in fit.broken[victim]
  for i in fit.numbers:
    assert suite.prompt('test', i)[1].id == records_[i].id
  with pytest.raises(records.BadRecord, match='broken image'):
    suite.prompt('test', victim)


def test_where_nothing_can_be_used_the_reason_is_told(make, tmp_path):
  path = tmp_path / 'mute.jsonl'
  record = dict(id='a', messages=[dict(role='user', content='a')])
  path.write_text(json.dumps(record) + '\n')
  mute = (('mute', str(path), 1.0),)
  fit = make(test=mute, bad=1.0).fit('test', 1)
  assert not fit.numbers and 'a: bad turns: mute.jsonl line 1' in fit.broken[0]


def test_more_broken_questions_than_may_be_end_the_run_at_once(make, tmp_path):
  path = tmp_path / 'mute.jsonl'
  record = dict(id='a', messages=[dict(role='user', content='a')])
  path.write_text(f'{json.dumps(record)}\n' * 9)
  with pytest.raises(
    records.TooManyBad, match='mute: bad turns .*a: bad turns: mute.jsonl'
  ):
    make(test=(('mute', str(path), 1.0),), bad=0.01).fit('test', 9)


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
