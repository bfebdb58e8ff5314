"""Which questions share a batch; the tests of the server hold their answers."""

import pytest

from tests import llava
from tests import questions
from visor_jax import inference
from visor_jax.eval import reading as reading_lib
from visor_jax.eval import together


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  folder = tmp_path_factory.mktemp('llava')
  llava.write(folder)
  return inference.load(folder, allow_untrained=True).asked


def test_questions_asked_alike_share_a_batch(checkpoint):
  pictures = [llava.picture(45, 62, seed) for seed in range(2)]
  first, second = (
    reading_lib.Reading(checkpoint, [picture]) for picture in pictures
  )

  def group(reading, text, **options):
    options = dict(plan='min', max_new_tokens=5) | options
    return together.question(checkpoint, reading, text, options).group

  known = group(first, 'Hm?')
  assert group(second, 'What is the colour?', max_new_tokens=16) == known
  for options in (dict(plan='max'), dict(max_new_tokens=17), dict(top_p=0.5)):
    assert group(first, 'Hm?', **options) != known
  assert group(first, questions.PROMPTS[2]) != known  # of another shape
  warm = dict(temperature=1.0)  # draws depend on the place in a batch
  assert group(first, 'Hm?', **warm) != group(first, 'Hm?', **warm)


def test_an_answer_has_the_room_that_is_left(checkpoint):
  reading = reading_lib.Reading(checkpoint, [])
  tokens = checkpoint.context - 64
  asked = together.question(
    checkpoint, reading, 'Hm?', dict(max_new_tokens=tokens)
  )
  room = checkpoint.context - sum(asked.prompt.lengths)
  assert asked.sampling.tokens == room >= tokens
  with pytest.raises(ValueError, match='do not fit into'):
    together.question(
      checkpoint, reading, 'Hm?', dict(max_new_tokens=checkpoint.context)
    )
