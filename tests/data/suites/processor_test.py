"""What is asked with --image is what was learned from, to the pixel."""

import io
import math

import numpy as np
import PIL.Image
import pytest

from visor_jax.data.pipeline import questions
from visor_jax.data.processing import packing
from visor_jax.data.sources import image_files
from visor_jax.data.suites import digits
from visor_jax.data.suites import processor as processor_lib
from visor_jax.data.suites.pages import suite as pages

SUITES = {'digits': digits.Suite(0, frames=2), 'pages': pages.Suite(0)}


@pytest.mark.parametrize('name', SUITES)
@pytest.mark.parametrize('times', [1, 3])
def test_a_question_about_a_picture_is_the_row_of_the_suite(name, times):
  """Its file is opened, resized and cut as any image is."""
  suite = SUITES[name]
  row, example = suite.prompt('test', 7)
  picture = processor_lib.png(example.images, times)
  segment = questions.segment(
    example.turns[0].question, [picture], processor_lib.of_suite(suite)
  )
  slots = dict(text=len(row['tokens']), visual=len(row['visual_place']))
  shape = processor_lib.of_suite(suite).row_shape(
    **slots, tiles=len(row['tiles'])
  )
  asked = packing.row([segment], shape)
  for field, value in row.items():
    np.testing.assert_array_equal(asked[field], value, err_msg=field)


@pytest.mark.parametrize('size', [(200, 100), (64, 64), (1, 1)])
def test_a_picture_of_another_shape_is_refused(size):
  """And one that is smaller: what was not drawn cannot be read."""
  file = io.BytesIO()
  PIL.Image.new('RGB', size).save(file, 'PNG')
  got = f'{size[1]} x {size[0]}'
  with pytest.raises(ValueError, match=f'{got}.* reads .*128 x 128'):
    processor_lib.of_suite(SUITES['pages']).open_image(file.getvalue())


def test_a_question_is_about_one_image_in_words_that_there_are():
  words = processor_lib.of_suite(SUITES['pages']).tokenizer
  with pytest.raises(ValueError, match='2 images'):
    words.prompt('value milk', 2)
  with pytest.raises(ValueError, match='no word .milc.; it has .* milk'):
    words.prompt('value milc', 1)
  with pytest.raises(ValueError, match='Be brief'):
    words.prompt('value milk', 1, 'Be brief')


def test_a_question_may_follow_others_as_in_training():
  suite = SUITES['pages']
  talk = suite.words.conversation(suite.conversation('base', 0).turns)
  turns = [(t.question, t.answer) for t in suite.conversation('base', 0).turns]
  asked = questions.follow_up(turns, 1, suite.words)
  end = talk.prompts[-1] + 1
  np.testing.assert_array_equal(asked.tokens, talk.tokens[:end])


@pytest.mark.parametrize(
  'name,side,tokens,tiles', [('pages', 64, 16, 4), ('digits', 40, 5, 1)]
)
def test_pictures_are_made_smaller_amid_tiles_as_large(
  name, side, tokens, tiles
):
  """Every visual token is the patch of the smaller picture, in order."""
  suite = SUITES[name].reprocessed(lambda one: one.resized(side))
  row, example = suite.prompt('test', 7)
  picture = image_files.picture(example.images)
  height, width = (n * side // picture.height for n in picture.size[::-1])
  smaller = np.asarray(
    picture.resize((width, height), PIL.Image.Resampling.BICUBIC)
  )
  assert (row['visual_segment'] > 0).sum() == tokens
  shape = SUITES[name].question_shape
  patch = math.isqrt(math.prod(shape.tile) // shape.patches)
  columns = shape.tile[1] // patch
  for token in range(tokens):
    tile, at = divmod(int(row['gather_index'][token, 0]), shape.patches)
    assert tile < tiles
    y, x = (at // columns) * patch, (at % columns) * patch
    got = row['tiles'][tile][y : y + patch, x : x + patch]
    y, x = (n * patch for n in divmod(token, width // patch))
    want = smaller[y : y + patch, x : x + patch]
    np.testing.assert_array_equal(got, want)
  segment = questions.segment(
    example.turns[0].question,
    [processor_lib.png(example.images, 3)],
    processor_lib.of_suite(suite).resized(side),
  )
  np.testing.assert_array_equal(segment.tiles, row['tiles'][:tiles])
  assert suite.original is SUITES[name]
  assert suite.words is SUITES[name].words


def test_pictures_are_whole_patches():
  with pytest.raises(ValueError, match=r'resize:50: .*128 x 128.*\[16, 32, 48'):
    SUITES['pages'].reprocessed(lambda one: one.resized(50))
