"""The built-in suite: pure, fair, and right by a second reading of its pixels.

`read` looks at the frames alone: it compares every cell with every image that
scikit-learn ships under every paper, ink and light, so what it finds is known
to the single image, and whose split that image belongs to.
"""

import collections
import functools
import pathlib
import runpy

import numpy as np
import pytest

from visor_jax.data.suites import digits
from visor_jax.data.suites import handwriting as handwriting_lib

SEED = 3
SUITE = digits.Suite(SEED)


@functools.cache
def handwriting():
  """All images, float [n, 8, 8] of 0 to 1, and their classes."""
  from sklearn import datasets

  images, labels = datasets.load_digits(return_X_y=True)
  return images.reshape(-1, 8, 8) / 16, labels


@functools.cache
def drawn(paper, ink, dim):
  """Every image as it looks on that paper, [n, 36 * 3], without its frame."""
  images, _ = handwriting()
  light = images[..., None] * (0.5 if dim else 1) * np.array(digits.INKS[ink])
  light = np.maximum(light, np.array(digits.PAPERS[paper]))
  return light.reshape(-1, 64, 3)[:, inner()].reshape(len(images), -1)


def inner():
  """Pixels of a cell that no mark can cover."""
  return [8 * r + c for r in range(1, 7) for c in range(1, 7)]


def nearest(cell, *colours):
  """(error, image) of the image that explains a cell best, in its own light."""
  every = drawn(*colours)
  cell = cell.reshape(64, 3)[inner()].reshape(-1).astype(float)
  light = (every @ cell) / np.maximum((every**2).sum(1), 1e-9)
  error = np.abs(every * light[:, None] - cell).mean(1)
  best = int(error.argmin())
  return error[best], best


def read(frame):
  """What a frame shows: digits, images, paper, ink, dim, mark."""
  cells = [
    frame[8 * r : 8 * r + 8, 8 * c : 8 * c + 8]
    for r in range(len(digits.ROWS))
    for c in range(2)
  ]
  choices = [
    (p, i, d) for p in digits.PAPERS for i in digits.INKS for d in (False, True)
  ]
  _, colours = min(
    (nearest(cells[0], *colours)[0], colours) for colours in choices
  )
  matches = [nearest(cell, *colours) for cell in cells]
  assert max(e for e, _ in matches) < 1.5, 'no image explains this cell'
  images = [i for _, i in matches]
  _, labels = handwriting()
  # A frame is as white as the light allows around at most one cell.
  mark = any(
    min(cell[[0, 7]].min(), cell[:, [0, 7]].min()) > 200 for cell in cells
  )
  return [int(labels[i]) for i in images], images, *colours, mark


def reply(question, seen, paper, ink, dim, mark):
  """The answer, in the plainest words."""
  family, _, what = question.partition(' ')
  pairs = list(zip(seen[::2], seen[1::2]))
  if family == 'paper':
    return paper
  if family == 'ink':
    return ink
  if family in ('dim', 'mark'):
    return 'yes' if {'dim': dim, 'mark': mark}[family] else 'no'
  if family == 'same':
    left, right = dict(zip('vwxyz', pairs))[what]
    return 'yes' if left == right else 'no'
  if family == 'where':
    return next((r for r, (a, b) in zip('vwxyz', pairs) if a == b), 'no')
  if family == 'match':
    return str(len([1 for a, b in pairs[: int(what)] if a == b]))
  assert family == 'read'
  return str(seen['abcdefghij'.index(what)])


def same(a, b):
  return (
    a.id == b.id and a.turns == b.turns and (np.array_equal(a.images, b.images))
  )


def test_a_scene_is_a_function_of_seed_stream_and_index():
  """Resume and every host ask again, in another order."""
  other = digits.Suite(SEED)
  ahead = {i: other.conversation('base', i) for i in (7, 3, 0, 3)}
  for i in (0, 3, 7):
    assert same(SUITE.conversation('base', i), ahead[i])
    assert same(SUITE.question('test', i), other.question('test', i))
  one = SUITE.conversation('base', 4)
  for another in (
    SUITE.conversation('base', 6),
    SUITE.conversation('full', 4),
    digits.Suite(SEED + 1).conversation('base', 4),
  ):
    assert not np.array_equal(one.images, another.images)


def test_no_image_is_in_both_splits():
  """A test digit seen in training would make reading a matter of memory."""
  pools = handwriting_lib.pools()
  pixels = {
    split: {image.tobytes() for images in pools[split] for image in images}
    for split in pools
  }
  count = {split: sum(map(len, pools[split])) for split in pools}
  assert count[False] + count[True] == 1797 and count[True] == 360
  assert not pixels[False] & pixels[True]
  assert all(len(images) >= 20 for images in pools[True])


@pytest.mark.parametrize(
  'stream,test',
  [
    ('base', False),
    ('universal', False),
    ('search', False),
    ('label', False),
    ('test', True),
  ],
)
def test_a_stream_draws_from_its_split_alone(stream, test):
  """Seen in the frames themselves, whatever the code believes it drew."""
  images, _ = handwriting()
  pools = handwriting_lib.pools()[test]
  allowed = {i.tobytes() for pool in pools for i in pool}
  as_stored = (images * 255).astype(np.uint8)
  for index in range(3):
    _, shown, *_ = read(SUITE.question(stream, index).images[0])
    assert all(as_stored[i].tobytes() in allowed for i in shown)


@pytest.mark.parametrize('index', range(12))
def test_answers_are_right_by_a_second_reading(index):
  """A wrong answer in the suite would be blamed on the model."""
  record = SUITE.conversation('full', index)
  seen, _, *colours = read(record.images[0])
  for turn in record.turns:
    assert turn.answer == reply(turn.question, seen, *colours), turn


@pytest.mark.parametrize('index', range(1, 2 * len(digits.FINE), 2))
def test_answers_to_single_questions_are_right_too(index):
  record = SUITE.question('test', index)
  seen, _, *colours = read(record.images[0])
  (turn,) = record.turns
  assert turn.answer == reply(turn.question, seen, *colours), turn


def test_a_conversation_asks_nothing_twice():
  """The second answer could be copied from the first."""
  asked = collections.Counter()
  for i in range(40):
    record = SUITE.conversation('base', i)
    questions = [t.question for t in record.turns]
    assert len(set(questions)) == len(questions) == digits.TURNS
    assert all(t.family == t.question.split()[0] for t in record.turns)
    asked.update(t.family for t in record.turns)
  assert set(asked) == {*digits.COARSE, *digits.FINE}  # all are trained


@pytest.fixture(scope='module')
def asked():
  """600 test questions, as family and answer."""
  turns = collections.defaultdict(list)
  for i in range(600):
    (turn,) = SUITE.question('test', i).turns
    assert digits.group(turn.family) == ('fine' if i % 2 else 'coarse')
    turns[turn.family].append(turn)
  return turns


def test_half_is_coarse_and_families_are_balanced(asked):
  """An average over questions is then one over families, and groups."""
  for group in (digits.COARSE, digits.FINE):
    counts = [len(asked[f]) for f in group]
    assert sum(counts) == 300 and max(counts) - min(counts) <= 1
  for family, arguments in (
    ('read', 'abcdefghij'),
    ('same', 'vwxyz'),
    ('match', '2345'),
  ):
    assert {t.question for t in asked[family]} == {
      f'{family} {a}' for a in arguments
    }


@pytest.mark.parametrize('family', ['paper', 'ink', 'dim', 'mark'])
def test_a_guess_is_no_better_than_chance(asked, family):
  """A biased answer would be learned instead of the image."""
  counts = collections.Counter(t.answer for t in asked[family])
  want = {'paper': digits.PAPERS, 'ink': digits.INKS}.get(family, ('yes', 'no'))
  assert set(counts) == set(want)
  assert max(counts.values()) / 75 < 1 / len(want) + 0.2


def test_a_family_that_is_not_asked_has_no_group():
  with pytest.raises(ValueError, match='"colour": expected one of paper, ink'):
    SUITE.group('colour')


def test_every_number_of_equal_rows_is_equally_likely():
  """Of independent digits nine in ten clips would have at most one."""
  counts = collections.Counter()
  for i in range(600):
    turns = SUITE.conversation('full', i).turns
    counts.update(t.answer for t in turns if t.question == 'match 5')
  assert set(counts) == set('012345')
  even = counts.total() / 6
  squares = sum((n - even) ** 2 / even for n in counts.values())
  assert even > 40 and squares < 20.5  # chi-square, 5 degrees, p = 0.001


def test_a_clip_shows_one_scene_in_flickering_light():
  """Frames that were equal would make most visual tokens copies."""
  frames = digits.Suite(SEED, frames=4).question('test', 1).images
  assert frames.shape == (4, 40, 16, 3) and frames.dtype == np.uint8
  first = read(frames[0])
  assert all(read(f)[0] == first[0] for f in frames[1:])
  assert len({f.tobytes() for f in frames}) == 4


def test_words_and_slots_suffice_for_every_question():
  for i in range(20):
    row, record = SUITE.prompt('test', i)
    (turn,) = record.turns
    assert (row['visual_segment'] == 1).all()
    tokens = 1 + len(turn.question.split()) + SUITE.answer_tokens
    assert tokens <= len(row['tokens'])
    SUITE.words.encode(f'{turn.question} {turn.answer}')
    assert len(turn.answer.split()) < SUITE.answer_tokens  # and `end`


def test_primers_come_first_in_their_stage():
  """Reading, then all; others ask for all at once."""
  suite = digits.Suite(SEED, primers=dict(base=2, full=1))

  def families(stream, i):
    return {t.family for t in suite.conversation(stream, i).turns}

  assert families('base', 0) == families('base', 1) == {'read'}
  assert families('full', 0) == {'read'}
  for stream, index in (('base', 2), ('full', 1), ('cross', 0)):
    assert set(digits.FINE) < families(stream, index)


def test_an_image_is_much_longer_than_a_question():
  """What VISOR saves is attention to the image: a clip has 20 times the text.

  The settings are those of the experiment whose numbers are published.
  """
  path = pathlib.Path(__file__).parents[3] / 'experiments' / 'digits.py'
  config = runpy.run_path(str(path))['get_config']()
  suite = digits.Suite(0, **config.data.digits)
  for i in range(2 * len(digits.FINE)):
    row, _ = suite.prompt('test', i)
    text = (row['text_segment'] > 0).sum()
    assert (row['visual_segment'] > 0).sum() >= 20 * text
