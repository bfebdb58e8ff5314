"""Conversations in JSON: laid out in any way, cut short, bad in places."""

import json
import os
import time

import pytest

from tests.data.sources import files
from visor_jax.data.sources import readers
from visor_jax.data.sources import records
from visor_jax.runtime import regular_files


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


def reasons(path):
  """Of the bad records of a file, by index, with the line that they name."""
  source = readers.open_source(path)
  bad = {}
  for i in range(len(source)):
    try:
      source[i]
    except records.BadRecord as e:
      assert e.detail.startswith(f'{path.name} line ')
      bad[i] = e.reason, int(e.detail.split()[2].rstrip(':'))
  return bad


GOOD = json.dumps(files.FIELDS[0])


@pytest.mark.parametrize('value', ['null', '3', '"text"', 'true', '[]', 'nan'])
def test_what_is_no_record_is_counted(folder, value):
  """Else it would be gone without a word."""
  for text in (f'[{GOOD},\n{value},\n{GOOD}]', f'{GOOD}\n{value}\n{GOOD}'):
    path = folder / 'x.json'
    path.write_text(text)
    assert reasons(path) == {1: ('bad json', 2)}


def test_a_second_list_is_refused(folder):
  path = files.write_json(folder / 'x.json')
  path.write_text(path.read_text() + '\n' + path.read_text())
  with pytest.raises(ValueError, match='x.json line 2: .* behind the list'):
    readers.open_source(path)


@pytest.mark.parametrize('indent', [None, 2])
def test_a_list_may_lie_in_an_object(folder, indent):
  path = folder / 'x.json'
  path.write_text(json.dumps(dict(data=files.FIELDS), indent=indent))
  assert files.ids(readers.open_source(path, folder / 'images')) == list(
    range(files.COUNT)
  )


def test_records_may_take_several_lines(folder):
  path = folder / 'x.jsonl'
  path.write_text(''.join(json.dumps(f, indent=1) + '\n' for f in files.FIELDS))
  assert files.ids(readers.open_source(path, folder / 'images')) == list(
    range(files.COUNT)
  )


def test_an_error_names_the_line_of_the_file(folder):
  path = files.write_json(folder / 'x.json', files.FIELDS, indent=1)
  lines = path.read_text().split('\n')
  number = next(i for i, line in enumerate(lines) if '"r3"' in line)
  lines[number] = lines[number].replace(':', ' ')
  path.write_text('\n'.join(lines))
  source = readers.open_source(path, folder / 'images')
  with pytest.raises(
    records.BadRecord,
    match=f"x/3: bad json: .*Expecting ':' delimiter at line {number + 1} ",
  ):
    source[3]


def test_a_key_that_stands_twice_is_bad_json(folder):
  """JSON would take the last, and the first were gone."""
  path = folder / 'x.json'
  path.write_text('[' + GOOD.replace('{', '{"id": "a", ', 1) + ']')
  assert reasons(path) == {0: ('bad json', 1)}
  with pytest.raises(records.BadRecord, match='key "id" stands there twice'):
    readers.open_source(path)[0]


@pytest.mark.parametrize(
  'text', ['{"a":' * 99_999, '[' * 99_999, '[' * 99_999 + ']' * 99_999]
)
def test_what_is_nested_without_end_is_bad_or_refused(folder, text):
  path = folder / 'x.json'
  path.write_text(text)
  try:
    assert set(reasons(path).values()) == {('bad json', 1)}
  except ValueError as e:
    assert 'cut short' in str(e)


def test_a_fifo_is_no_source(folder):
  os.mkfifo(folder / 'x.json')
  with pytest.raises(ValueError, match='neither a file nor a folder'):
    readers.open_source(folder / 'x.json')


def test_a_line_without_end_is_one_bad_record(folder, monkeypatch):
  path = folder / 'x.jsonl'
  path.write_text(f'{GOOD}\n{GOOD[:-1]}{" " * 2000}}}\n{GOOD}\n')
  assert reasons(path) == {}
  monkeypatch.setattr(regular_files, 'MAX_BYTES', 2000)
  assert reasons(path) == {1: ('bad json', 2)}


def test_a_fifo_among_files_is_no_source(folder):
  files.write_parquet(folder / 'a.parquet', files.FIELDS)
  os.mkfifo(folder / 'b.parquet')
  with pytest.raises(ValueError, match='b.parquet is not a file'):
    readers.open_source(folder)
