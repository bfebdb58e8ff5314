"""easy-VQA: images to learn from, questions to be asked alone."""

import pytest

from visor_jax.data.sources import easy_vqa
from visor_jax.data.sources import readers
from visor_jax.data.sources import records

ASKED = [
  ('what is the red shape?', 'circle', 0),
  ('is there a triangle?', 'yes', 1),
  ('is there a circle?', 'yes', 0),
]


def test_training_has_images_and_a_test_questions():
  assert easy_vqa.by_image(ASKED) == [
    (0, [ASKED[0][:2], ASKED[2][:2]]),
    (1, [ASKED[1][:2]]),
  ]
  assert [image for image, _ in easy_vqa.asked_alone(ASKED)] == [0, 1, 0]
  assert all(len(turns) == 1 for _, turns in easy_vqa.asked_alone(ASKED))


def test_another_split_is_refused():
  with pytest.raises(ValueError, match='expected easy-vqa:train or'):
    readers.open_source('easy-vqa:validation')


@pytest.mark.drill
def test_the_published_set_is_all_there():
  """Needs pip install easy-vqa."""
  train = readers.open_source('easy-vqa:train')
  test = readers.open_source('easy-vqa:test')
  assert (len(train), len(test)) == (4000, 9673)
  assert sum(len(train[i].turns) for i in range(len(train))) == 38_575
  record = test[0]
  records.check(record)
  assert record.sizes == ((64, 64),)
  assert record.turns[0].question == 'what is the red shape?'
  assert train.fingerprint != test.fingerprint
