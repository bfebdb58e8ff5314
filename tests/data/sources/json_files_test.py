"""Conversations in JSON: laid out in any way, cut short, bad in places."""

import time

import pytest

from tests.data.sources import files
from visor_jax.data.sources import readers
from visor_jax.data.sources import records


@pytest.fixture
def folder(tmp_path):
  return files.images(tmp_path)


@pytest.mark.parametrize(
  'options',
  [{}, dict(indent=2), dict(ensure_ascii=False), dict(separators=(',', ':'))],
)
def test_a_json_list_may_be_laid_out_in_any_way(folder, options):
  path = files.write_json(folder / 'x.json', **options)
  path.write_bytes(b'\xef\xbb\xbf\n ' + path.read_bytes() + b'\n')
  assert files.ids(readers.open_source(path, folder / 'images')) == list(
    range(files.COUNT)
  )


def test_lines_may_be_empty_and_the_last_without_end(folder):
  path = files.write_jsonl(folder / 'x.jsonl')
  path.write_bytes(
    b'\xef\xbb\xbf' + path.read_bytes().replace(b'\n', b'\r\n\n').rstrip()
  )
  assert files.ids(readers.open_source(path, folder / 'images')) == list(
    range(files.COUNT)
  )


@pytest.mark.parametrize('write', [files.write_json, files.write_jsonl])
@pytest.mark.parametrize(
  'old,new,why',
  [
    (b'"r2"', b'"\xff2"', 'bad text'),
    (b'"id": "r2"', b'"id" "r2"', 'bad json'),
    (b'"id": "r2"', b'"id": NONE', 'bad json'),
  ],
)
def test_one_bad_record_spoils_no_other(write, old, new, why, folder):
  path = write(folder / 'x.json')
  path.write_bytes(path.read_bytes().replace(old, new))
  source = readers.open_source(path, folder / 'images')
  assert len(source) == files.COUNT
  for i in range(files.COUNT):
    if i != 2:
      assert source[i].id == f'r{i}'
  with pytest.raises(records.BadRecord, match='^x/2: ') as e:
    source[2]
  assert (e.value.reason, e.value.id) == (why, 'x/2')


def test_a_list_that_is_cut_short_is_refused_at_once(folder):
  """Cut in a string; looking for its end from every byte takes long."""
  path = files.write_json(
    folder / 'x.json', [files.FIELDS[1], dict(id='x' * 100_000)]
  )
  path.write_bytes(path.read_bytes()[:-100])
  start = time.process_time()
  with pytest.raises(ValueError, match='cut short after 1 records'):
    readers.open_source(path)
  assert time.process_time() - start < 1
