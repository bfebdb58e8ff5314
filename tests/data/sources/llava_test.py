"""LLaVA's fields to records, and what is wrong with those of the wild."""

import pytest

from tests.data.sources import encoded
from visor_jax.data.sources import llava
from visor_jax.data.sources import records

JPEG, SIDES, reason = encoded.JPEG, encoded.SIDES, encoded.reason
FIELDS = dict(
  id='a',
  image='a.jpg',
  conversations=[
    {'from': 'human', 'value': '<image>\nWhy?'},
    {'from': 'gpt', 'value': 'So.'},
  ],
)


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'a.jpg').write_bytes(JPEG)
  (tmp_path / 'cut.jpg').write_bytes(JPEG[:-100])
  (tmp_path / 'text.jpg').write_bytes(b'not an image')
  (tmp_path / 'empty.jpg').write_bytes(b'')
  (tmp_path / 'folder.jpg').mkdir()
  return tmp_path


@pytest.mark.parametrize(
  'change,why',
  [
    ({}, None),
    (dict(image=['a.jpg']), None),
    (dict(image=dict(bytes=JPEG, path=None)), None),
    (dict(image=None, images=[dict(bytes=None, path='a.jpg')]), None),
    (dict(image=JPEG), None),
    (dict(image='b.jpg'), 'missing image'),
    (dict(image='folder.jpg'), 'missing image'),
    (dict(image='a.jpg/b.jpg'), 'missing image'),
    (dict(image='x' * 300), 'missing image'),
    (dict(image='a\0.jpg'), 'missing image'),
    (dict(image=[None]), 'missing image'),
    (dict(image=3), 'missing image'),
    (dict(image=''), 'missing image'),
    (dict(image=dict(bytes=None, path=None)), 'missing image'),
    (dict(image='cut.jpg'), 'broken image'),
    (dict(image='text.jpg'), 'broken image'),
    (dict(image='empty.jpg'), 'broken image'),
    (dict(image=['a.jpg', 'a.jpg']), 'marker count'),
    (dict(image=None), 'marker count'),
    (dict(conversations=None), 'no turns'),
    (dict(conversations=[]), 'no turns'),
    (dict(conversations=[{'from': 'system', 'value': 'x'}]), 'no turns'),
    (dict(conversations='Why?'), 'bad json'),
    (dict(conversations=3), 'bad json'),
    (dict(conversations=[{'role': 'user'}]), 'bad json'),
    (dict(conversations=FIELDS['conversations'][:1]), 'bad turns'),
    (dict(conversations=FIELDS['conversations'][::-1]), 'bad turns'),
    (dict(conversations=[{'from': 'human', 'value': 'a'}] * 2), 'bad turns'),
    (
      dict(
        conversations=[
          {'from': 'human', 'value': 'a'},
          {'from': 'gpt', 'value': 3},
        ]
      ),
      'bad text',
    ),
  ],
)
def test_what_is_bad_in_the_wild_has_a_reason(change, why, folder):

  def build():
    return llava.parse(FIELDS | change, 'x/0', folder, '')

  assert reason(build) == why
  if why:
    with pytest.raises(records.BadRecord, match=f'^a: {why}'):
      build()


def test_llava_fields_become_a_record(folder):
  """System turns go; a record without id has its place's name."""
  talk = [{'from': 'system', 'value': 'Be brief.'}, *FIELDS['conversations']]
  fields = dict(image='a.jpg', conversations=talk)
  record = llava.parse(fields, 'train/7', folder, 'train')
  assert record == records.Record(
    'train/7',
    (JPEG,),
    (SIDES[::-1],),
    (records.Turn('<image>\nWhy?', 'So.', 'train'),),
  )
  for given, id in ((12, '12'), ('\ud83d', '\\ud83d'), (0, '0')):
    fields['id'] = given
    assert llava.parse(fields, 'train/7', folder, '').id == id


def test_a_disk_that_fails_is_no_missing_image(folder, monkeypatch):
  """Else a bad hour of a file server would thin out the data."""

  def fail(self):
    raise OSError(5, 'Input/output error')

  monkeypatch.setattr('pathlib.Path.read_bytes', fail)
  with pytest.raises(OSError, match='Input/output'):
    llava.parse(FIELDS, 'x/0', folder, '')
