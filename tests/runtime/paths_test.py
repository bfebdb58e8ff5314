"""Paths of this machine and of buckets: one way in for both."""

import pathlib
import pickle
import sys

import fsspec.registry  # noqa: F401
import pytest
import upath

from tests import buckets
from visor_jax.runtime import checksums
from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.runtime import paths
from visor_jax.runtime import regular_files
from visor_jax.runtime import retry

root = buckets.root


@pytest.mark.parametrize(
  'text', ['run', '/a/b:/c', 'tfds:name', 'a:b', './gs:/x', 'c:/x', '']
)
def test_paths_of_this_machine_are_taken_as_they_are(text):
  for parse in (paths.parse, paths.local):
    assert parse(text, '--workdir') == pathlib.Path(text)


@pytest.mark.parametrize('address', ['hdfs://host/run', 'az://a/b', 'hf://a/b'])
def test_other_stores_are_refused(address):
  """It would become a folder `hdfs:` here, and hold nothing others see."""
  with pytest.raises(errors.Refusal, match='--workdir is .*://.*mount'):
    paths.parse(address, '--workdir')


@pytest.mark.parametrize('address', ['gs://b/run', 's3://b/run', 'gs:/b/run'])
def test_what_must_be_on_a_disk_is_not_in_a_bucket(address):
  for path in (address, pathlib.Path(address)):
    with pytest.raises(errors.Refusal, match='--out is .*://b/run.*disk.*moun'):
      paths.local(path, '--out')


@pytest.mark.parametrize('library', ['upath', 's3fs'])
def test_what_is_not_installed_is_named(library, monkeypatch):
  monkeypatch.setitem(sys.modules, library, None)
  known = sys.modules['fsspec.registry']._registry
  monkeypatch.delitem(known, 's3', raising=False)  # as if it were the first
  with pytest.raises(errors.Refusal, match=rf"{library}: pip .*\[stores\]'"):
    paths.parse('s3://bucket/run', '--workdir')


def test_what_would_make_a_folder_of_an_address_refuses_it(root):
  path = paths.parse(root)
  for act in (open, pathlib.Path):
    with pytest.raises(TypeError):
      act(path)


def test_files_are_written_read_and_listed_as_on_a_disk(root, tmp_path):
  for folder in (paths.parse(root), tmp_path):
    files.write_atomic(folder / 'a' / 'x.json', '{"é": 1}')
    files.write_atomic(folder / 'a' / 'x.json', '{"é": 2}')
    files.write_atomic(folder / 'rows.jsonl', '{"a": 1}\n{"a": 2}\n{"a":')
    assert checksums.read_object(folder / 'a' / 'x.json') == {'é': 2}
    assert [row['a'] for row in files.read_jsonl(folder / 'rows.jsonl')] == [
      1,
      2,
    ]
    assert files.read_jsonl(folder / 'none') == []
    assert sorted(p.name for p in folder.iterdir() if p.name != 'cache') == [
      'a',
      'rows.jsonl',
    ]
    assert [p.name for p in (folder / 'a').glob('*.json')] == ['x.json']
    assert [p.name for p in folder.rglob('x*')] == ['x.json']
    assert (folder / 'a').is_dir() and not (folder / 'b').exists()


def test_a_copy_is_made_once_and_again_when_it_is_not_what_it_was(root):
  folder = paths.parse(root) / 'data'
  for name in ('x.json', 'y.json', 'deep/z.json'):
    files.write_atomic(folder / name, name)
  copy = paths.local_copy(folder / 'x.json')
  assert isinstance(copy, pathlib.Path) and copy.read_text() == 'x.json'
  assert copy.name == 'x.json' and paths.local_copy(folder / 'x.json') == copy
  files.write_atomic(folder / 'x.json', 'other')
  assert paths.local_copy(folder / 'x.json').read_text() == 'other'
  copies = paths.local_copy(folder)
  assert copies.name == 'data'
  assert {p.name: p.read_text() for p in copies.iterdir()} == {
    'x.json': 'other',
    'y.json': 'y.json',
  }
  with pytest.raises(FileNotFoundError, match='none'):
    paths.local_copy(folder / 'none')


def test_what_others_write_is_seen(root):
  """Clients keep what they have listed, if they are let."""
  here = paths.parse(root)
  other = pickle.loads(pickle.dumps(here))
  files.write_atomic(here / 'a', '')
  assert [p.name for p in here.iterdir()] == ['a']
  other.fs.clear_instance_cache()
  files.write_atomic(paths.parse(str(other)) / 'b', '')
  assert [p.name for p in here.iterdir()] == ['a', 'b']


def test_large_files_of_strangers_are_not_read(root):
  path = paths.parse(root) / 'x'
  path.write_bytes(b'12345')
  assert paths.read(path) == b'12345'
  with pytest.raises(regular_files.LargeFile, match='5 bytes; .* at most 4'):
    paths.read(path, most=4)
  with pytest.raises(FileNotFoundError):
    paths.read(path.parent / 'none')


def test_a_store_that_does_not_answer_may_do_so_later(monkeypatch):
  monkeypatch.setattr(retry, 'WAITS', ())
  address = 'http://127.0.0.1:9'  # nobody listens there
  path = upath.UPath(
    's3://bucket/x',
    endpoint_url=address,
    config_kwargs={'retries': {'total_max_attempts': 1}},
  )
  monkeypatch.setattr(path.fs, 'retries', 1)
  with pytest.raises((errors.Passing, OSError)) as caught:
    retry.retry('reading', path.read_text)
  assert retry.passing(caught.value) and address in str(caught.value)
