"""Where records stand in JSON files: none is lost, what is none has a place."""

import json
import random
import tracemalloc

import pytest

from visor_jax.data.sources import json_spans

KEYS = ('conversations', 'messages')


def elements(path, data):
  """(what stands there, its line) of each span."""
  path.write_bytes(data.encode() if isinstance(data, str) else data)
  text = path.read_bytes()
  return [
    (text[start:stop].strip().decode(), line)
    for start, stop, line in json_spans.spans(path, KEYS).tolist()
  ]


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'x.json'


@pytest.mark.parametrize(
  'data, expected',
  [
    ('[]', []),
    (' [ \n ] ', []),
    ('', []),
    ('\n\n', []),
    ('[{"a": 1}, {"b": "]"}]', [('{"a": 1}', 1), ('{"b": "]"}', 1)]),
    ('[\n{"a":\n1},\n\n{}\n]\n', [('{"a":\n1}', 2), ('{}', 5)]),
    ('[null]', [('null', 1)]),
    ('[null, 3,\n"a, \\"]b"]', [('null', 1), ('3', 1), ('"a, \\"]b"', 2)]),
    ('[{}, null, {}]', [('{}', 1), ('null', 1), ('{}', 1)]),
    ('[1, {}, 2, 3, {}, 4]', list(zip('1 {} 2 3 {} 4'.split(), [1] * 6))),
    ('[[1, 2], {}]', [('[1, 2]', 1), ('{}', 1)]),
    ('{"a": 1}\n\n{"b": 2}\n', [('{"a": 1}', 1), ('{"b": 2}', 3)]),
    ('{"a": 1}\nnull\n3', [('{"a": 1}', 1), ('null', 2), ('3', 3)]),
    ('{"a": 1}', [('{"a": 1}', 1)]),
    ('{"a": 1\n{"b": 2}\n', [('{"a": 1', 1), ('{"b": 2}', 2)]),
    ('{\n"a": 1\n}\n{\n"b": 2}\n', [('{\n"a": 1\n}', 1), ('{\n"b": 2}', 4)]),
    ('{\n"a": 1\n}\n3\n', [('{', 1), ('"a": 1', 2), ('}', 3), ('3', 4)]),
  ],
)
def test_every_element_has_a_place(path, data, expected):
  assert elements(path, data) == expected


@pytest.mark.parametrize('mark', ['', '\ufeff'])
@pytest.mark.parametrize('indent', [None, 1])
@pytest.mark.parametrize('key', ['data', 'annotations', 'x"]['])
def test_an_object_may_hold_the_list(path, key, indent, mark):
  records = [dict(conversations=[{'a': [i]}], i=i) for i in range(3)]
  around = dict(version='[1]', sizes=[1, 2], info=dict(n=[{}]))
  data = mark + json.dumps(around | {key: records}, indent=indent)
  there = elements(path, data)
  assert [json.loads(text) for text, _ in there] == records
  assert [data.splitlines()[line - 1].strip()[-1] for _, line in there] == (
    ['{'] * 3 if indent else ['}'] * 3
  )


@pytest.mark.parametrize('key', KEYS)
@pytest.mark.parametrize('indent', [None, 1])
def test_a_record_alone_is_no_object_that_holds_records(path, key, indent):
  record = {'id': 'a', key: [{'from': 'human'}], 'data': [{}]}
  ((text, line),) = elements(path, json.dumps(record, indent=indent))
  assert json.loads(text) == record and line == 1


@pytest.mark.parametrize(
  'data, message',
  [
    ('[{}]\n[{}]', 'line 2: .*behind the list; expected one list'),
    ('[{}], [{}]', 'line 1: .*behind the list'),
    ('[{}]\n\n3', "line 3: '3' stands behind the list"),
    ('[{} {}]', "line 1: expected one comma .* there is ''"),
    ('[{},\n\n, {}]', "line 3: expected one comma .* there is ','"),
    ('[{},\n]', 'line 1: expected one comma'),
    ('[,]', "line 1: expected one comma .* there is ','"),
    ('[1\n2]', "line 2: expected one comma .* there is '2'"),
    ('[{}, null {}]', 'expected one comma'),
    ('[{}, "a]', 'cut short after 1 records'),
    ('[{}, {', 'cut short after 1 records'),
    ('[', 'cut short after 0 records'),
    ('{"train": [{}], "val": [{}]}', 'the lists train, val; expected one'),
  ],
)
def test_what_is_no_list_is_named_with_its_line(path, data, message):
  with pytest.raises(ValueError, match=message):
    elements(path, data)


def test_elements_are_those_that_json_reads(path):
  """Lists of everything, laid out at random."""
  rng = random.Random(0)
  values = [None, True, 3, -1.5e9, 'a, b', ' "]\\', {}, [], [[]], {'a': ['}']}]
  for _ in range(300):
    listed = [rng.choice(values) for _ in range(rng.randrange(6))]
    blank = lambda: ''.join(rng.choices(' \n\t', k=rng.randrange(3)))
    inner = ','.join(blank() + json.dumps(v) + blank() for v in listed)
    data = f'{blank()}[{inner}{blank()}]{blank()}'
    there = elements(path, data)
    assert [json.loads(text) for text, _ in there] == listed, data


def test_a_large_file_is_not_held(path):
  path.write_text(json.dumps([dict(text='x' * 100_000)] * 300))
  tracemalloc.start()
  assert len(json_spans.spans(path, KEYS)) == 300
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 1e6
