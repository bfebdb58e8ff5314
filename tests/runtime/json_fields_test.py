"""JSON files of strangers: what is expected, or an error that names it."""

import json
import os

import pytest

from visor_jax.runtime import json_fields

FIELDS = json_fields.Fields(
  dict(
    whole=3,
    real=0.5,
    huge=10**40,
    yes=True,
    word='a',
    list=[1, 2],
    words=['a'],
    inner=dict(real='x'),
    nothing=None,
    nan=float('nan'),
  ),
  'c.json: ',
)


def test_fields_are_what_is_expected():
  assert FIELDS.integer('whole') == 3 and FIELDS.integer('none', 7) == 7
  assert FIELDS.number('real') == 0.5 and FIELDS.number('whole') == 3.0
  assert FIELDS.flag('yes', False) and not FIELDS.flag('none', False)
  assert FIELDS.text('word') == 'a' and FIELDS.text('none', '') == ''
  assert FIELDS.integers('whole') == [3] and FIELDS.integers('list') == [1, 2]
  assert FIELDS.numbers('list') == [1.0, 2.0]
  assert FIELDS.strings('words') == ['a'] and FIELDS.strings('none') == []
  assert FIELDS.fields('none').values == {}
  assert FIELDS.integer('nothing', 7) == 7 and not FIELDS.has('nothing')
  FIELDS.require('word', 'a')
  FIELDS.require('none', 'a')


@pytest.mark.parametrize(
  'act, message',
  [
    (lambda f: f.integer('none'), 'c.json: none is missing; expected an int'),
    (lambda f: f.integer('yes'), 'yes is True; expected an integer from 1'),
    (lambda f: f.integer('real'), 'real is 0.5; expected an integer'),
    (lambda f: f.integer('huge'), 'expected an integer from 1 to 16777216'),
    (lambda f: f.integer('whole', most=2), 'whole is 3; .* from 1 to 2'),
    (lambda f: f.number('nan'), 'nan is nan; expected a finite number'),
    (lambda f: f.number('huge'), 'expected a finite number'),
    (lambda f: f.number('real', least=1), 'real is 0.5; .* at least 1'),
    (lambda f: f.flag('whole', True), 'whole is 3; expected true or false'),
    (lambda f: f.text('whole'), 'whole is 3; expected a string'),
    (lambda f: f.strings('list'), 'expected a list of strings'),
    (lambda f: f.strings('word'), "word is 'a'; expected a list of strings"),
    (lambda f: f.integers('words'), 'expected integers from 0'),
    (lambda f: f.numbers('whole'), 'expected a list of finite numbers'),
    (lambda f: f.fields('list'), 'expected an object'),
    (lambda f: f.fields('inner').number('real'), 'c.json: inner.real is'),
    (lambda f: f.require('word', 'b'), "word is 'a'; expected 'b'"),
  ],
)
def test_all_else_is_one_error(act, message):
  with pytest.raises(ValueError, match=message):
    act(FIELDS)


def test_a_long_value_makes_no_long_error():
  fields = json_fields.Fields({'a': 'x' * 10**6}, '')
  with pytest.raises(ValueError) as e:
    fields.integer('a')
  assert len(str(e.value)) < 400


@pytest.mark.parametrize(
  'text, message',
  [
    (b'{"a": 1', 'broken, no JSON'),
    (b'\xff\xfe\x00{', 'broken, no JSON'),
    (b'[' * 100_000, 'broken, no JSON'),
    (b'{"a": 1' + b'0' * 5000 + b'}', 'broken, no JSON'),
    (b'[1]', 'holds a list; expected an object'),
  ],
)
def test_a_broken_file_is_named(text, message, tmp_path):
  (tmp_path / 'c.json').write_bytes(text)
  with pytest.raises(ValueError, match=message) as e:
    json_fields.read(tmp_path / 'c.json')
  assert 'c.json' in str(e.value)


def test_a_file_is_read_in_bounds(tmp_path):
  os.mkfifo(tmp_path / 'fifo')
  (tmp_path / 'large').write_text(json.dumps({'a': 'x' * 100}))
  for name, most in (('fifo', 99), ('large', 99)):
    with pytest.raises(ValueError, match=name):
      json_fields.read(tmp_path / name, most)
  assert json_fields.read(tmp_path / 'large').text('a')
  assert not json_fields.read_if_there(tmp_path / 'none').values
