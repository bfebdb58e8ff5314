"""Templates of strangers: as transformers renders them, and within bounds."""

import concurrent.futures
import datetime
import time
import tracemalloc

import pytest
from transformers.utils import chat_template_utils

from visor_jax.data.processing import chat_template

MESSAGES = [
  dict(role='system', content='Be "brief" & kind: \u4f60'),
  dict(role='user', content=[dict(type='image'), dict(type='text', text='a')]),
  dict(role='assistant', content='b'),
]


def render(template, messages=MESSAGES, **options):
  chat = chat_template.ChatTemplate(template, dict(eos_token='</s>'))
  return chat.render(messages, **options)


@pytest.mark.parametrize(
  'template',
  [
    '{{ eos_token }}{{ bos_token }}{{ messages | length }}',
    '{% for m in messages %}{{ loop.index }}/{{ loop.length }}'
    '{{ loop.last }}{{ loop.previtem is defined }}{{ loop.revindex }};'
    '{% endfor %}',
    '{% for m in messages if m.role != "user" %}{{ m.role }}{% endfor %}',
    '{% for m in [] %}x{% else %}none{% endfor %}',
    '{% for m in nobody %}x{% endfor %}',
    '{% for k, v in messages[0].items() %}{{ k }}={{ v }}{% endfor %}',
    '{% for i in range(3) recursive %}{{ i }}{% endfor %}',
    '{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}'
    '{{ m.role }}{% endfor %}',
    "{{ 'a' ~ 3 ~ messages[0].role ~ nobody }}|{{ 'ab' * 3 }}|{{ 2 ** 8 }}",
    "{{ '%s has %05d' % ('a', 3) }}{{ '{:>5}|'.format('a') }}",
    '{{ messages[0].content | tojson }}{{ messages | tojson(indent=2) }}',
    "{{ messages | map(attribute='role') | join(', ') }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{% set ns = namespace(t='') %}{% for m in messages %}"
    '{% set ns.t = ns.t + m.role %}{% endfor %}{{ ns.t }}',
    '{% macro f(context, act) %}<{{ context }}{{ act }}>{% endmacro %}'
    "{{ f(context='a', act=1) }}{% set x %}b{{ f(1, 2) }}{% endset %}{{ x }}",
    "{{ 'a-b'.split('-') }}{{ ' a '.strip() }}{{ 'aXb'.replace('X', '--') }}",
    "{{ 'abc' | upper | replace('B', '?') | center(9) | indent(2) }}",
    "{{ messages[::-1] | map(attribute='role') | list }}",
    '{{ dict(a=1) }}{{ [1, 2] + [3] }}{{ (1, 2) }}{{ 7 // 2 }}{{ 7 % 4 }}',
    '{% if add_generation_prompt %}go{% endif %}{{ tools is none }}',
    '{% generation %}x{% endgeneration %}',
    "{{ strftime_now is defined }}{{ strftime_now('%Y') }}",
  ],
)
@pytest.mark.parametrize('prompt', [False, True])
def test_a_template_is_rendered_as_in_transformers(template, prompt):
  expected = chat_template_utils.render_jinja_template(
    [MESSAGES],
    chat_template=template,
    add_generation_prompt=prompt,
    eos_token='</s>',
  )[0][0]
  assert render(template, add_generation_prompt=prompt) == expected


def test_the_day_is_that_on_which_the_process_began():
  day = render("{{ strftime_now('%d %B %Y') }}")
  assert abs(
    datetime.datetime.strptime(day, '%d %B %Y') - datetime.datetime.now()
  ) < datetime.timedelta(days=2)


@pytest.mark.parametrize(
  'template, message',
  [
    ("{{ raise_exception('roles!') }}", 'the chat template says: roles!'),
    ('{{ 1 / 0 }}', 'fails: ZeroDivisionError'),
    ('{{ messages[0].x.y }}', 'fails: UndefinedError'),
    ('{{ 3 | nobody }}', 'fails: TemplateAssertionError'),
    ('{% for %}', 'fails: TemplateSyntaxError'),
    ("{% include 'x' %}", 'fails: '),
    ("{{ ''.__class__.__mro__ }}", 'fails: SecurityError'),
    ('{{ [].append(1) }}', 'fails: SecurityError'),
    ('{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}', 'RecursionError'),
    ('{{ ' + '(' * 9999 + '1' + ')' * 9999 + ' }}', 'RecursionError'),
    ('x' * 1_000_001, 'has 1000001 characters'),
  ],
)
def test_what_a_template_raises_is_one_value_error(template, message):
  with pytest.raises(ValueError, match=message):
    render(template)


BIG = "{% set big = 'x' * 100000 %}"
TWICE = '{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}'


@pytest.mark.parametrize(
  'template',
  [
    '{% for i in range(10**9) %}{% endfor %}',
    '{% for i in range(99999) %}{% for j in range(99999) %}'
    '{% endfor %}{% endfor %}',
    '{% for i in range(99999) %}{% set x = i %}{% for j in range(99999) %}'
    '{% set x = j %}{% endfor %}{% endfor %}',
    '{% for i in [1] * 10**9 %}{% endfor %}',
    '{% for i in range(9999) if i < 0 %}{% else %}' * 400
    + '{% endfor %}' * 400,
    TWICE + '{% endmacro %}{{ f(99) }}',
    "{{ 'x' * 10**9 }}",
    "{{ 'x' * 10**12 }}",
    '{{ 9**9**9 }}',
    '{{ 99999 ** 99999 }}',
    "{{ 'x' | center(10**9) }}",
    "{{ 'x'.ljust(10**9) }}",
    "{{ 'x' | indent(width=10**9) }}",
    "{{ '%1000000000d' % 3 }}",
    "{{ '%*d' % (10**9, 3) }}",
    "{{ '{:>1000000000}'.format(3) }}",
    "{{ '{:>{w}}'.format(3, w=10**9) }}",
    "{{ '%1000000000d' | format(3) }}",
    '{{ lipsum(n=10**6) }}',
    BIG + "{{ big.replace('x', big) }}",
    BIG + "{{ big | replace('x', big) }}",
    BIG + '{{ big.join(big) }}',
    BIG + '{{ [big] * 99999 | length }}{{ ([big] * 99999) | join }}',
    BIG + '{{ range(99999) | join(big) }}',
    BIG + "{{ range(99999) | map('replace', '1', big) | join }}",
    BIG + '{{ [big] * 9999 }}',
    BIG + "{{ ('\t' * 99999).expandtabs(99999) }}",
    BIG + '{% for i in range(99999) %}{{ big }}{% endfor %}',
    BIG
    + '{% set y %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endset %}',
    BIG + '{% set ns = namespace(b=big) %}{% for i in range(99) %}'
    '{% set ns.b = ns.b ~ ns.b %}{% endfor %}',
    BIG + '{% set ns = namespace(b=big) %}{% for i in range(99) %}'
    '{% set ns.b = ns.b + ns.b %}{% endfor %}',
    '{% set ns = namespace(b=[1]) %}{% for i in range(99) %}'
    '{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.b }}',
    '{% set ns = namespace(b=[1]) %}{% for i in range(99) %}'
    '{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.b | tojson }}',
    '{% set a = [1] * 9999 %}{% set b = [a] * 9999 %}{{ [b] * 9999 }}',
    BIG + '{% for i in range(99999) %}{% set x = big[::-1] %}'
    '{% for j in range(99999) %}{% set x = big[::-1] %}{% endfor %}'
    '{% endfor %}',
  ],
)
def test_a_template_takes_no_more_than_it_may(template):
  """Neither time nor memory: a rendering ends, with one clear error."""
  start = time.process_time()
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match='^the chat template '):
      render(template)
    assert tracemalloc.get_traced_memory()[1] < 3e8
  finally:
    tracemalloc.stop()
  assert time.process_time() - start < 30


def test_what_a_rendering_may_take_is_its_own():
  """Neither the last one nor another thread's takes from it."""
  chat = chat_template.ChatTemplate(
    '{% for i in range(50000) %}{% for j in range(3) %}{% endfor %}'
    '{% endfor %}',
    {},
  )
  for _ in range(4):
    assert chat.render([]) == ''
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert list(pool.map(chat.render, [[]] * 4)) == [''] * 4


def test_a_long_conversation_is_rendered():
  """A million characters in a thousand messages, by a thrifty template."""
  template = (
    '{% for m in messages %}{% if loop.index0 == messages|length - 1 %}!'
    "{% endif %}{{ '<' + m.role + '>' + m.content | trim + eos_token }}"
    '{% endfor %}'
  )
  messages = [dict(role='user', content='x' * 1000)] * 1000
  assert len(render(template, messages)) == 1000 * (1000 + 6 + 4) + 1
