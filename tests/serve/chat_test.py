"""Requests as OpenAI's clients write them, and what is wrong with others."""

import base64

import pytest

from visor_jax.serve import chat
from visor_jax.serve import limits

LIMITS = limits.Limits(images=2, most_new_tokens=100)
IMAGE = 'data:image/png;base64,' + base64.b64encode(b'pixels').decode()


def user(*parts):
  return dict(role='user', content=list(parts))


def text(words):
  return dict(type='text', text=words)


def image(url=IMAGE):
  return dict(type='image_url', image_url=dict(url=url))


def read(*messages, **fields):
  return chat.read(
    dict(messages=[*messages], **fields), LIMITS, dict(plan='min')
  )


def test_images_stand_where_they_were_sent():
  asked = read(
    dict(role='system', content='Be short.'),
    user(text('This '), image(), text(' or '), image()),
    dict(role='assistant', content='The first.'),
    user(text('Why?')),
    max_tokens=7,
    stream=True,
  )
  assert asked.images == (b'pixels', b'pixels')
  assert asked.text == 'Why?' and asked.stream and not asked.usage
  assert asked.options['history'] == [
    ('This <image>\n or <image>\n', 'The first.')
  ]
  assert asked.options['system'] == 'Be short.'
  assert asked.options['max_new_tokens'] == 7


def test_images_before_the_only_question_stand_where_a_model_has_them():
  """Models of built-in suites have no marker for them."""
  assert read(user(image(), text('line 2'))).text == 'line 2'
  assert read(user(text('line 2'), image())).text == 'line 2<image>\n'


def test_a_plan_of_the_request_stands_for_that_of_the_server():
  assert read(user(text('?'))).options['plan'] == 'min'
  options = read(user(text('?')), budget=0.5, budget_of='total').options
  assert options['budget'] == 0.5 and 'plan' not in options
  assert options['budget_of'] == 'total'


@pytest.mark.parametrize(
  'messages,fields,why',
  [
    ([], {}, 'messages: expected'),
    (['?'], {}, r'messages\[0\]: expected an object'),
    ([dict(role='assistant', content='!')], {}, "expected 'user'"),
    ([user(text('?')), user(text('?'))], {}, "expected 'assistant'"),
    (
      [user(text('?')), dict(role='assistant', content='!')],
      {},
      'is not a question',
    ),
    ([user(text('<image>'))], {}, 'stands for an image, send one'),
    ([user(image('https://a.b/c.png'))], {}, 'expected data:image'),
    ([user(image('data:image/png;base64,a?'))], {}, 'no base64'),
    ([user(image(), image(), image(), text('?'))], {}, '3 images; at most 2'),
    ([user(dict(type='input_audio'))], {}, 'expected a text'),
    ([user(text('?'))], dict(max_tokens=101), 'from 1 to 100'),
    ([user(text('?'))], dict(temperature='hot'), 'temperature'),
    ([user(text('?'))], dict(n=2), 'n: only 1'),
    ([user(text('?'))], dict(tools=[{}]), 'tools: only'),
    ([user(text('?'))], dict(budge=0.5), 'budge: not known'),
    ([user(text('?'))], dict(stream='yes'), 'stream'),
  ],
)
def test_what_is_wrong_is_named(messages, fields, why):
  with pytest.raises(ValueError, match=why):
    read(*messages, **fields)


def test_a_body_that_is_no_object():
  with pytest.raises(ValueError, match='no JSON object'):
    chat.read([], LIMITS, {})
