"""The contract of records: a conversation that can be tokenized."""

import dataclasses
import pickle

import pytest

from tests.data.sources import encoded
from visor_jax.data.sources import records

JPEG, SIDES, reason = encoded.JPEG, encoded.SIDES, encoded.reason


def raw(*turns, count=1):
  return records.Record(
    'a',
    (JPEG,) * count,
    (SIDES[::-1],) * count,
    tuple(records.Turn(q, a, '') for q, a in turns),
  )


@pytest.mark.parametrize(
  'record,why',
  [
    (raw(), 'no turns'),
    (raw((' \n', 'So.')), 'empty question'),
    (raw(('<image>\n', 'So.')), 'empty question'),
    (raw(('Why?', ' \n')), 'empty answer'),
    (raw(('Why?', 'So.'), ('Why?', '')), 'empty answer'),
    (raw(('<image> <image> Why?', 'So.')), 'marker count'),
    (raw(('<image> Why?', 'So.'), count=2), 'marker count'),
    (raw(('<image> Why?', 'So.'), count=0), 'marker count'),
    (raw(('<image> Why?', '<image>')), 'marker count'),
    (raw(('Why?', '\ud83d')), 'bad text'),
    (raw(('Why?', 'So.')), None),
    (raw(('Why?', 'So.'), count=2), None),
    (raw(('<image> Why?', 'So.'), ('<image>?', 'So.'), count=2), None),
  ],
)
def test_conversations_are_checked(record, why):
  assert reason(records.check, record) == why
  outline = dataclasses.replace(record, images=())
  assert reason(records.check, outline) == why, 'rows are planned from these'


def test_a_bad_record_survives_the_way_from_a_worker():
  bad = records.BadRecord('no turns', 'none', 'a')
  back = pickle.loads(pickle.dumps(bad))
  assert (back.reason, back.detail, back.id) == ('no turns', 'none', 'a')
  assert str(back) == str(bad) == 'a: no turns: none'
