"""TFDS datasets that cannot be read: what is wrong is named at once."""

import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data import datasets
from visor_jax.data import tfds_builder
from visor_jax.data.sources import readers
from visor_jax.data.sources import tfds as tfds_lib

COUNT, NAME = datasets.COUNT, datasets.NAME
TEXT, TALK = datasets.TEXT, datasets.TALK


@pytest.fixture(scope='session')
def prepared(tmp_path_factory):
  """Prepared shards, and the folder of a dataset built of them."""
  return datasets.prepare(tmp_path_factory.mktemp('prepared'))


@pytest.fixture
def dataset(prepared, tmp_path):
  """Its own copy of the dataset's version."""
  return pathlib.Path(
    shutil.copytree(
      prepared / 'data' / NAME / '1.0.0', tmp_path / NAME / '1.0.0'
    )
  )


@pytest.mark.parametrize(
  'path',
  [
    'tfds:',
    'tfds:a b',
    f'tfds:{NAME}@',
    f'tfds:{NAME}:1.0',
    'tfds:data/a/1.0.0',
    'tfds:huggingface:squad',
    f'tfds:{NAME}[train]',
    f'tfds:{NAME}@a@b',
  ],
)
def test_a_path_is_spelled_out(path):
  with pytest.raises(ValueError) as e:
    readers.open_source(path)
  assert str(e.value).startswith(f'{path}: expected tfds:NAME[/CONFIG]')


@pytest.mark.parametrize(
  'words,message',
  [
    ('nope', 'tfds:nope: Could not find .*Prepare it first, set TFDS_DATA_DIR'),
    (f'{NAME}/hard', 'Could not find.*hard'),
    (f'{NAME}:3.0.0', 'Could not find.*3.0.0'),
    (f'{NAME}@test', f"tfds:{NAME}@test: Unknown split 'test'.*train"),
    (f'{NAME}@train[9:]', 'incompatible with 6'),
    (f'{NAME}@train[:', 'Error parsing split'),
    (f'{NAME}@train[:0]', 'no records in train'),
  ],
)
def test_what_is_missing_is_named(words, message, prepared):
  with pytest.raises(ValueError, match=f'(?s){message}'):
    tfds_lib.Tfds(f'tfds:{words}', prepared / 'data')


@pytest.mark.parametrize(
  'change,message',
  [
    (lambda d: shutil.rmtree(d), 'expected the folder of a version'),
    (lambda d: (d / 'features.json').unlink(), 'expected the folder of a vers'),
    (
      lambda d: datasets.edit(
        d / 'dataset_info.json', b'array_record"', b'tfrecord"'
      ),
      "is in tfrecord files; prepare it again with file_format='array_record'",
    ),
    (
      lambda d: datasets.shards(d)[0].unlink(),
      '-00000-of-.* is missing; prepare',
    ),
    (
      lambda d: datasets.shards(d)[0].write_bytes(b'no records'),
      'not ArrayRecord files',
    ),
    (
      lambda d: datasets.edit(
        d / 'dataset_info.json',
        b'"shardLengths": [\n        "',
        b'"shardLengths": [\n        "1',
      ),
      'has 6 records, but by its dataset_info.json 1',
    ),
  ],
)
def test_a_dataset_that_is_not_whole_is_refused(change, message, dataset):
  change(dataset)
  with pytest.raises(ValueError, match=message) as e:
    tfds_lib.Tfds(f'tfds:{dataset}')
  assert str(e.value).startswith(f'tfds:{dataset}: ')


@pytest.mark.parametrize(
  'features,example,message',
  [
    (
      dict(id=TEXT, label=TEXT),
      dict(id='a', label='b'),
      'no feature conversations, only id, label',
    ),
    (
      dict(conversations=TEXT),
      dict(conversations='a'),
      'conversations are Text.*expected a Sequence',
    ),
    (
      dict(conversations=tfds.features.Sequence({'from': TEXT, 'text': TEXT})),
      dict(conversations=[]),
      'expected a Sequence of {from, value}',
    ),
    (
      dict(
        conversations=tfds.features.Sequence({'from': np.int64, 'value': TEXT})
      ),
      dict(conversations=[]),
      'both Text',
    ),
    (
      dict(conversations=TALK, image=np.int64),
      dict(conversations=[], image=3),
      'image is .*expected an Image',
    ),
    (
      dict(conversations=TALK, images={'bytes': TEXT}),
      dict(conversations=[], images=dict(bytes='a')),
      '(?s)images is .*an Image',
    ),
    (
      dict(conversations=TALK, id=tfds.features.Sequence(TEXT)),
      dict(conversations=[], id=[]),
      'id is .*expected one Text',
    ),
    (
      dict(conversations=TALK, video=np.int64),
      dict(conversations=[], video=3),
      'records have video; expected conversations about images',
    ),
  ],
)
def test_a_dataset_of_something_else_is_refused(
  features, example, message, tmp_path
):
  path = datasets.write(tmp_path / NAME / '1.0.0', features, [example])
  with pytest.raises(ValueError, match=message):
    tfds_lib.Tfds(path)


def test_who_lacks_tfds_is_told_the_extra(monkeypatch, prepared, tmp_path):
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  for act in (
    lambda: readers.open_source(f'tfds:{NAME}'),
    lambda: tfds_builder.build(prepared / 'shards', tmp_path, NAME),
  ):
    with pytest.raises(ValueError, match=r"pip install 'visor_jax\[tfds\]'"):
      act()
