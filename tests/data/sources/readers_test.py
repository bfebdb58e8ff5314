"""Sources over real files: the same records from every kind of them."""

import concurrent.futures
import os
import pickle

import numpy as np
import pytest

from tests.data.sources import files
from visor_jax.data.sources import readers


@pytest.fixture
def folder(tmp_path):
  return files.images(tmp_path)


def test_every_kind_gives_the_same_records(folder):
  for kind, path in files.kinds(folder).items():
    source = readers.open_source(path, folder / 'images')
    records = files.read(source)
    assert len(source) == files.COUNT
    assert [r.id for r in records] == [f'r{i}' for i in range(files.COUNT)], (
      kind
    )
    for i, raw in enumerate(records):
      assert raw.images == tuple(
        files.jpeg((i + k) % files.COUNT) for k in range(i % 3)
      )
      assert raw.sizes == tuple(
        (10, 20 + (i + k) % files.COUNT) for k in range(i % 3)
      )
      assert [(t.question, t.answer, t.family) for t in raw.turns] == [
        (
          f'{"<image>" + chr(10)}' * (i % 3) + f'{{[{i}"\\ ]?',
          f'\u4f60]}} {i}',
          'train',
        )
      ], kind
    assert source[np.int64(3)] == records[3]  # what samplers draw
    for i in map(np.int64, range(files.COUNT)):
      assert files.bare(source.outline(i)) == files.bare(records[i]), kind


def test_a_source_is_read_by_threads_and_by_other_processes(folder):
  """Pickled after a read, when files and row groups may be open."""
  order = list(range(files.COUNT)) * 8
  for kind, path in files.kinds(folder).items():
    source = readers.open_source(path, folder / 'images')
    expected = files.read(source)
    data = pickle.dumps(source)
    assert files.jpeg(1) not in data, f'{kind} carries its data'
    copy = pickle.loads(data)
    assert copy.fingerprint == source.fingerprint
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
      records = list(pool.map(copy.__getitem__, order))
      outlines = list(pool.map(copy.outline, order))
    assert records == [expected[i] for i in order], kind
    assert list(map(files.bare, outlines)) == [
      files.bare(expected[i]) for i in order
    ], kind


def only(file):
  """Makes one of two numbered files the only one."""
  file.rename(file.with_name('train-00000-of-00001.parquet'))
  file.with_name('train-00000-of-00002.parquet').unlink()


@pytest.mark.parametrize('pattern', ['', 'train-*.parquet'])
def test_a_numbered_file_that_is_missing_is_named(pattern, folder):
  """Half a download would be a smaller dataset."""
  files.kinds(folder)
  lost = folder / 'train' / 'train-00001-of-00002.parquet'
  lost.unlink()
  with pytest.raises(ValueError, match='1 of the 2 files .* missing: 1'):
    readers.open_source(lost.parent / pattern)
  # Who names the numbers chooses.
  readers.open_source(lost.parent / 'train-00000*.parquet')


@pytest.mark.parametrize(
  'kind,change',
  [
    ('json', lambda f: files.edit(f / 'train.json', b'"r3"', b'"r9"')),
    ('jsonl', lambda f: files.edit(f / 'train.jsonl', b'"r3"', b'"r9"')),
    (
      'jsonl',
      lambda f: files.write_jsonl(f / 'train.jsonl', files.FIELDS[:-1]),
    ),
    ('yaml', lambda f: files.edit(f / 'train.jsonl', b'"r3"', b'"r9"')),
    (
      'yaml',
      lambda f: files.write_yaml(f / 'mix.yaml', ('train.jsonl', 'end:7')),
    ),
    (
      'parquet',
      lambda f: files.edit(
        f / 'train' / 'train-00001-of-00002.parquet', b'r5', b'r9'
      ),
    ),
    ('parquet', lambda f: only(f / 'train' / 'train-00001-of-00002.parquet')),
    (
      'array_record',
      lambda f: files.edit(f / 'shards' / 'b.array_record', b'VJR1', b'VJR2'),
    ),
    ('array_record', lambda f: os.remove(f / 'shards' / 'b.array_record')),
    (
      'outlined',
      lambda f: files.edit(f / 'outlined' / 'b.outline', b'VJR1', b'VJR2'),
    ),
    ('outlined', lambda f: os.remove(f / 'outlined' / 'b.outline')),
    (
      'array_record',
      lambda f: (f / 'shards' / 'shards.json').write_text('{"shards": []}'),
    ),
  ],
)
def test_a_fingerprint_follows_the_data(kind, change, folder):
  path = files.kinds(folder)[kind]
  before = readers.open_source(path).fingerprint
  assert before == readers.open_source(path).fingerprint and len(before) == 32
  change(folder)
  assert readers.open_source(path).fingerprint != before


def test_a_fingerprint_is_the_same_in_another_folder(folder, tmp_path_factory):
  """Hosts mount data where they like."""
  other = tmp_path_factory.mktemp('other')
  (other / 'images').symlink_to(folder / 'images')
  theirs = files.kinds(other)
  for kind, path in files.kinds(folder).items():
    assert readers.open_source(path).fingerprint == (
      readers.open_source(theirs[kind]).fingerprint
    ), kind


@pytest.mark.parametrize(
  'make,message',
  [
    (lambda f: f / 'gone.json', 'no such file'),
    (lambda f: f / 'gone-*.parquet', 'expected a .json'),
    (lambda f: f, 'expected a .json'),
    (lambda f: files.write_json(f / 'x.txt'), 'expected a .json'),
    (lambda f: files.write_json(f / 'x.json', []), 'no records'),
    (lambda f: files.write_jsonl(f / 'x.jsonl', []), 'no records'),
    (lambda f: files.write_json(f / 'x.parquet'), 'not a parquet file'),
    (lambda f: files.write_json(f / 'x.array_record'), 'not ArrayRecord'),
    (lambda f: files.write_shard(f / 'x.array_record', []), 'no records'),
    (
      lambda f: files.write_parquet(f / 'x.parquet', [dict(a=1, b=2)]),
      'no column conversations, only a, b',
    ),
    (lambda f: 'tfds:', 'expected tfds:NAME'),
  ],
)
def test_what_is_no_source_is_said(make, message, folder):
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    readers.open_source(make(folder))
