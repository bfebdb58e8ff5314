"""Shards and their outlines."""

import json

from array_record.python import array_record_module
import pytest

from tests.data.sources import files
from visor_jax.data.sources import readers
from visor_jax.data.sources import records


@pytest.fixture
def folder(tmp_path):
  return files.images(tmp_path)


def test_an_outline_is_read_without_its_record(folder):
  """A host that plans rows has no time for images."""
  path = files.kinds(folder)['outlined']
  mixture = files.write_yaml(
    folder / 'm.yaml', ('train.jsonl', 'first:2'), ('outlined', 'end:4')
  )
  expected = files.read(readers.open_source(path))
  alone = readers.open_source(path / 'b.array_record')
  source, mixture = (
    readers.open_source(p, folder / 'images') for p in (path, mixture)
  )
  for shard in path.glob('*.array_record'):
    shard.unlink()  # files are opened when they are read
  with pytest.raises(RuntimeError):
    source[0]
  outlines = [source.outline(i) for i in range(files.COUNT)]
  assert outlines == list(map(files.bare, expected))
  assert [alone.outline(i) for i in range(4)] == outlines[3:]
  assert [mixture.outline(i) for i in range(2, 6)] == outlines[3:]
  assert files.bare(mixture.outline(1)) == outlines[1]


def test_without_outlines_the_record_tells(folder):
  """Of some shards only is as good as none."""
  path = files.kinds(folder)['outlined']
  expected = list(map(files.bare, files.read(readers.open_source(path))))
  (path / 'a.outline').unlink()
  source = readers.open_source(path)
  (path / 'b.outline').unlink()
  assert [source.outline(i) for i in range(files.COUNT)] == expected


def test_outlines_of_other_shards_are_refused(folder):
  path = files.kinds(folder)['outlined']
  files.write_bytes(path / 'a.outline', [b'something else'] * 3)
  with pytest.raises(records.BadRecord, match='outlined/2: bad bytes'):
    readers.open_source(path).outline(2)
  files.write_bytes(path / 'b.outline', [b''] * 5)
  with pytest.raises(ValueError, match='8 outlines of 7 records'):
    readers.open_source(path)


def test_a_pattern_may_take_outlines_along(folder):
  path = files.kinds(folder)['outlined']
  source = readers.open_source(path / '*')
  assert len(source) == files.COUNT
  assert source.fingerprint == readers.open_source(path).fingerprint


def test_shards_in_the_making_and_lost_ones_are_refused(folder):
  path = files.kinds(folder)['array_record']
  (path / 'shards.journal').write_text('{}\n')
  with pytest.raises(ValueError, match='prepare has not finished'):
    readers.open_source(path)
  for gone, shard in (
    ('c.array_record', dict(name='c.array_record')),
    ('b.outline', dict(name='b.array_record', outline=dict(name='b.outline'))),
  ):
    (path / 'shards.json').write_text(json.dumps(dict(shards=[shard])))
    with pytest.raises(ValueError, match=f'{gone}, which is missing'):
      readers.open_source(path)


@pytest.mark.parametrize('text', ['', '{"shards": [', '[]', '{}'])
def test_an_index_that_is_torn_is_named(text, folder):
  path = files.kinds(folder)['array_record']
  (path / 'shards.json').write_text(text)
  with pytest.raises(ValueError, match=f'{path}/shards.json is not what prep'):
    readers.open_source(path)


def test_foreign_array_records_are_bad_bytes(folder):
  writer = array_record_module.ArrayRecordWriter(
    str(folder / 'x.array_record'), 'group_size:1'
  )
  writer.write(b'something else')
  writer.close()
  source = readers.open_source(folder / 'x.array_record')
  with pytest.raises(records.BadRecord, match=f'{folder.name}/0: bad bytes'):
    source[0]
