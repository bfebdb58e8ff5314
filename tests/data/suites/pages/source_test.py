"""Pages as records, for checkpoints with words of their own."""

import io

import numpy as np
import PIL.Image
import pytest

from visor_jax.data.sources import records
from visor_jax.data.suites.pages import questions
from visor_jax.data.suites.pages import source as source_lib
from visor_jax.data.suites.pages import suite


def test_a_record_is_a_page_of_the_suite_asked_in_english():
  source = source_lib.Source('pages:small/train@40', suite.Suite)
  assert len(source) == 40 and source.name == 'pages'
  record, example = source[3], suite.Suite(0).conversation('train', 3)
  records.check(record)
  pixels = np.asarray(PIL.Image.open(io.BytesIO(record.images[0])))
  np.testing.assert_array_equal(pixels, np.concatenate(example.images))
  assert record.sizes == ((128, 128),)
  assert [t.answer for t in record.turns] == [t.answer for t in example.turns]
  assert source.outline(3) == record


def test_a_test_has_one_group_of_questions():
  for group in ('coarse', 'fine'):
    source = source_lib.Source(f'pages:small/test/{group}@12', suite.Suite)
    turns = [source[i].turns for i in range(12)]
    assert {questions.group(turn.family) for (turn,) in turns} == {group}


def test_every_question_has_a_phrase_with_its_arguments():
  for i in range(60):
    (turn,) = suite.Suite(0).question('test', i).turns
    phrase = source_lib.phrase(turn.question)
    assert '{' not in phrase and phrase[0].isupper()
    assert all(word in phrase for word in turn.question.split()[1:])


@pytest.mark.parametrize(
  'path,why',
  [
    ('pages:', 'expected pages:SCALE/SPLIT'),
    ('pages:small/test', 'a split of train, test/coarse, test/fine'),
    ('pages:small/train@0', 'expected pages:'),
    ('pages:huge/train', 'huge.*small'),
  ],
)
def test_what_is_none_is_refused(path, why):
  with pytest.raises(ValueError, match=why):
    source_lib.Source(path, suite.Suite)
