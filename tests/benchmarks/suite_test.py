"""Benchmarks from the hub's files and from shards: the same questions."""

import gzip
import json
import pathlib
import shutil

import numpy as np
import pytest

from tests import hub
from tests import llava_files
from visor_jax.benchmarks import __main__ as command
from visor_jax.benchmarks import questions as questions_lib
from visor_jax.benchmarks import scores
from visor_jax.benchmarks import suite as suite_lib
from visor_jax.benchmarks import table
from visor_jax.data import fits
from visor_jax.data.processing import text
from visor_jax.families.llava_onevision import processor

ORACLE = json.loads(
  gzip.decompress(
    (pathlib.Path(__file__).parent / 'oracle.json.gz').read_bytes()
  )
)
PROMPT = dict(text=400, visual=110, tiles=37)
COUNT = 8


def asked(name):
  return [fields for fields, _ in ORACLE[name]['asked'][:COUNT]]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp('hub')
  for name in hub.FILES:
    hub.write(folder, name, asked(name))
  return folder


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """A checkpoint's tokenizer and recipe of images."""
  folder = tmp_path_factory.mktemp('hf')
  llava_files.write_processor(folder)
  (folder / 'config.json').write_text(json.dumps(llava_files.config()))
  return folder


def read(data, name, rules='rules'):
  return questions_lib.open_questions(table.BENCHMARKS[name], rules, data)


@pytest.mark.parametrize('name', list(hub.FILES))
def test_questions_are_read_as_the_hub_serves_them(data, name):
  record, questions = table.BENCHMARKS[name], read(data, name)
  assert len(questions) == COUNT
  for number, fields in enumerate(asked(name)):
    raw = questions[number]
    (turn,) = raw.turns
    assert turn.question == ORACLE[name]['prompts'][number]
    assert json.loads(turn.answer) == {c: fields[c] for c in record.gold}
    want = [hub.image(number)['bytes']]
    if name == 'gqa':
      want = [hub.image(number % 2)['bytes']]
    elif name == 'seedbench' and number % 2:
      want.append(hub.image(number + 1)['bytes'])
    elif name == 'mmmu':
      want = [
        hub.image(number + i)['bytes']
        for i in (1, 2)[: 1 + ('<image 2>' in fields['question'])]
      ]
    assert list(raw.images) == want
    assert raw.sizes[0] == (
      40 + number % 2 if name == 'gqa' else 40 + number + (name == 'mmmu'),
      52,
    )


def test_shards_hold_the_same_questions(data, tmp_path, capsys):
  names = '+'.join(hub.FILES)
  assert not command.main(
    ['--data', str(data), '--benchmarks', names, '--out', str(tmp_path)]
  )
  assert 'docvqa: 8 of 5349 questions' in capsys.readouterr().out
  for name in hub.FILES:
    shards = read(tmp_path, name, scores.RULES)
    tables = read(data, name, scores.RULES)
    for number in range(COUNT):
      assert shards[number] == tables[number]
  with pytest.raises(ValueError, match='shards are of mme by lmms.*not of mme'):
    read(tmp_path, 'mme', 'other rules')


def test_a_question_is_the_prompt_alone(data, checkpoint):
  record, tokenizer = table.BENCHMARKS['mmmu'], text.Tokenizer(checkpoint)
  suite = suite_lib.Suite(
    record,
    read(data, 'mmmu'),
    processor.read(checkpoint),
    prompt=PROMPT,
    max_new_tokens=99,
  )
  assert suite.answer_tokens == 99 and len(suite) == COUNT
  for number in range(COUNT):
    row, raw = suite.prompt('test', number)
    (turn,) = raw.turns
    want = tokenizer.prompt(turn.question, len(raw.images))
    got = row['tokens'][row['text_segment'] == 1]
    np.testing.assert_array_equal(got, want.tokens)
    assert not row['answer'].any() and turn.family == 'mmmu'
    assert (row['visual_segment'] > 0).sum() > 0
  assert suite.group('mmmu') == 'coarse'


def test_a_question_that_is_too_long_is_an_error(data, checkpoint):
  """The number would be another benchmark's without it."""
  suite = suite_lib.Suite(
    table.BENCHMARKS['mmstar'],
    read(data, 'mmstar'),
    processor.read(checkpoint),
    prompt=PROMPT | dict(text=20),
    max_new_tokens=99,
  )
  with pytest.raises(fits.TooLong, match='a row has 20 text.*data.prompt'):
    suite.prompt('test', 3)
  fit = suite.fit('test', 99)
  assert fit.count == COUNT and 3 in fit.too_long and fit.stream == 'mmstar'
  assert fit.needed['text'] > 20 and 'would hold all' in fit.notes()[1]


def test_all_questions_are_known_to_fit(data, checkpoint):
  suite = suite_lib.Suite(
    table.BENCHMARKS['mmmu'],
    read(data, 'mmmu'),
    processor.read(checkpoint),
    prompt=PROMPT,
    max_new_tokens=99,
  )
  fit = suite.fit('mmmu', COUNT)
  assert fit.notes() == () and fit.numbers == tuple(range(COUNT))
  rows = [suite.prompt('mmmu', i)[0] for i in range(COUNT)]
  for name in ('text', 'visual'):
    lengths = [(row[f'{name}_segment'] > 0).sum() for row in rows]
    assert fit.needed[name] == max(lengths)


def test_what_is_missing_is_named(data, tmp_path):
  with pytest.raises(FileNotFoundError, match='pope has no test-.*eval.data'):
    read(data, 'pope')
  hub.table(
    tmp_path / 'pope/data/test-00000-of-00001.parquet',
    [dict(question='?', answer='yes')],
  )
  with pytest.raises(ValueError, match='no column category, only question'):
    read(tmp_path, 'pope')
  hub.write(tmp_path, 'mme', asked('mme'))
  (tmp_path / 'mme/data/test-00001-of-00002.parquet').unlink()
  with pytest.raises(ValueError, match='1 of the 2 files test-.*missing: 1'):
    read(tmp_path, 'mme')
  hub.write(tmp_path, 'gqa', asked('gqa'))
  hub.table(
    tmp_path / 'gqa/testdev_balanced_images/testdev-00000-of-00001.parquet',
    [dict(id='n0', image=hub.image(0))],
  )
  questions = read(tmp_path, 'gqa')
  assert questions[0].images
  with pytest.raises(ValueError, match='gqa/1: missing image: imageId n1'):
    questions[1]
  # Of a data set with two configurations the other one does not do.
  wrong = tmp_path / 'docvqa/InfographicVQA/validation-00000-of-00001.parquet'
  hub.table(wrong, [dict(question='?', answers=['a'], image=hub.image(0))])
  with pytest.raises(FileNotFoundError, match='no DocVQA/validation-'):
    read(tmp_path, 'docvqa')
  assert command.main(['--data', str(tmp_path), '--benchmarks', 'pope']) == 1


def test_all_that_is_missing_is_said_at_once(data, tmp_path, capsys):
  """And what is there; no shard is written before."""
  shutil.copytree(data / 'mme', tmp_path / 'in' / 'mme')
  line = ['--data', str(tmp_path / 'in'), '--benchmarks', 'pope+mme+docvqa']
  assert command.main([*line, '--out', str(tmp_path / 'out')]) == 1
  out, error = capsys.readouterr()
  assert 'mme: 8 of 2374 questions' in out and 'pope: ' in out
  assert '2 of 3 benchmarks are missing or broken: pope, docvqa' in error
  assert not (tmp_path / 'out').exists()
