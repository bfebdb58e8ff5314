"""Records as bytes: nothing is lost, and every cut is seen."""

import dataclasses

import pytest

from tests.data.sources import encoded
from visor_jax.data.sources import encoding
from visor_jax.data.sources import records

JPEG, PNG, SIDES, reason = (
  encoded.JPEG,
  encoded.PNG,
  encoded.SIDES,
  encoded.reason,
)


def raw(*turns, count=1):
  return records.Record(
    'a',
    (JPEG,) * count,
    (SIDES[::-1],) * count,
    tuple(records.Turn(q, a, '') for q, a in turns),
  )


@pytest.mark.parametrize(
  'record',
  [
    raw(('<image> \u4f60\u597d?', '\U0001f600 "so"\n')),
    raw(('One?', '1'), ('Two?', '2'), count=0),
    records.Record(
      'b/\u00e9',
      (PNG, b'', JPEG),
      ((1, 2), (3, 4), (5, 6)),
      (records.Turn('q', 'a', 'charts'),),
    ),
  ],
)
def test_a_record_comes_back_as_it_was(record):
  data = encoding.encode(record)
  assert encoding.decode(data) == record
  assert encoding.encode(dataclasses.replace(record)) == data


def test_the_format_stays():
  """Shards on disk outlive this code: a change needs another magic."""
  turns = (records.Turn('q\u00e9', 'a', 'f'),)
  data = encoding.encode(
    records.Record('i', (b'xyz', b'w'), ((1, 2), (3, 4)), turns)
  )
  header = '{"id":"i","images":[[1,2,3],[3,4,1]],"turns":[["q\u00e9","a","f"]]}'
  assert data == b'VJR1\x3f\0\0\0' + header.encode() + b'xyzw'


def test_every_cut_of_a_record_is_seen():
  data = encoding.encode(
    records.Record('i', (b'xyz',), ((1, 2),), (records.Turn('q', 'a', 'f'),))
  )
  for stop in range(len(data)):
    assert reason(encoding.decode, data[:stop]) == 'bad bytes', stop
  assert reason(encoding.decode, data + b'!') == 'bad bytes'
  assert reason(encoding.decode, b'VJR9' + data[4:]) == 'bad bytes'


def test_an_outline_is_all_but_the_images():
  record = records.Record(
    'i\u00e9',
    (b'xyz', b'w'),
    ((1, 2), (3, 4)),
    (records.Turn('q', '\u4f60', 'f'),),
  )
  data = encoding.encode(record)
  cut = encoding.outline(data)
  assert data == cut + b'xyzw'
  assert encoding.decode(cut, outlined=True) == dataclasses.replace(
    record, images=()
  )
  # Neither passes for the other: pixels would be missing, or read in vain.
  assert reason(encoding.decode, cut) == 'bad bytes'
  assert reason(encoding.decode, data, True) == 'bad bytes'
  for stop in range(len(cut)):
    assert reason(encoding.decode, cut[:stop], True) == 'bad bytes', stop
