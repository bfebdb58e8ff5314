"""TFDS datasets, of ours and of others, as records."""

import concurrent.futures
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data import datasets
from visor_jax.data.sources import readers
from visor_jax.data.sources import records
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


def test_a_name_is_found_where_tfds_looks_and_without_tensorflow(prepared):
  """In a process of its own: tfds reads TFDS_DATA_DIR when imported."""
  code = f"""
import sys
from visor_jax.data.sources import readers
readers.open_source({str(prepared / 'shards')!r})
assert 'tensorflow_datasets' not in sys.modules, 'imported by who needs it not'
source = readers.open_source('tfds:{NAME}')
print(*(source[i].id for i in range(len(source))))
assert 'tensorflow' not in sys.modules
"""
  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    env=os.environ | dict(TFDS_DATA_DIR=str(prepared / 'data')),
  )
  assert done.stdout.split() == [f'r{i}' for i in range(COUNT)], done.stderr


@pytest.mark.parametrize(
  'words,expected',
  [
    ('', range(COUNT)),
    (':1.0.0', range(COUNT)),
    (':1.*.*', range(COUNT)),
    ('@train', range(COUNT)),
    ('@train[:2]', range(2)),
    (':1.0.0@train[50%:]', range(3, COUNT)),
    ('@train[4:]+train[:1]', [4, 5, 0]),
  ],
)
def test_versions_and_splits_are_spelled_as_tfds_does(
  words, expected, prepared
):
  named = tfds_lib.Tfds(f'tfds:{NAME}{words}', prepared / 'data')
  assert [r.id for r in datasets.read(named)] == [f'r{i}' for i in expected]
  split = words.partition('@')[1:]
  folder = tfds_lib.Tfds(f'tfds:{prepared}/data/{NAME}/1.0.0{"".join(split)}')
  assert datasets.read(folder) == datasets.read(named)
  assert folder.fingerprint == named.fingerprint


def test_a_config_is_part_of_the_name(tmp_path):
  at = datasets.write(
    tmp_path / 'a@b' / NAME / 'hard.v2' / '2.0.1',
    dict(conversations=TALK),
    [dict(conversations=datasets.talk())],
    'validation',
    config='hard.v2',
  )
  for path in (
    f'{at}@validation',
    f'tfds:{NAME}/hard.v2@validation',
    f'tfds:{NAME}/hard.v2:2.0.1@validation',
  ):
    source = tfds_lib.Tfds(path, tmp_path / 'a@b')
    assert source[0].id == f'{NAME}/hard.v2/0'
    assert source[0].turns[0].family == source.name == f'{NAME}/hard.v2'


def test_a_source_is_read_by_threads_and_by_other_processes(prepared):
  source = tfds_lib.Tfds(f'tfds:{NAME}', prepared / 'data')
  expected, order = datasets.read(source), list(range(COUNT)) * 20
  data = pickle.dumps(source)
  assert datasets.picture(1) not in data and len(data) < 20_000
  copy = pickle.loads(data)
  assert copy.fingerprint == source.fingerprint
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    read = list(pool.map(copy.__getitem__, order))
  assert read == [expected[i] for i in order]


def test_a_mixture_has_datasets_too(dataset, tmp_path):
  (tmp_path / 'm.yaml').write_text(
    f'datasets:\n- json_path: tfds:{dataset}\n  sampling_strategy: end:2\n'
  )
  read = datasets.read(readers.open_source(tmp_path / 'm.yaml'))
  assert [r.id for r in read] == [f'r{i}' for i in (COUNT - 2, COUNT - 1)]


# Stored as TALK is.
LISTS = {
  'from': tfds.features.Sequence(TEXT),
  'value': tfds.features.Sequence(TEXT),
}
ONE, MANY = tfds.features.Image(), tfds.features.Sequence(tfds.features.Image())


@pytest.mark.parametrize(
  'features,example,id,images',
  [
    (
      dict(image=ONE),
      dict(image=datasets.picture(1)),
      f'{NAME}/0',
      [datasets.picture(1)],
    ),
    (dict(image=ONE), dict(image=b''), f'{NAME}/0', []),
    (
      dict(image=MANY),
      dict(image=[datasets.picture(1), datasets.picture(2)]),
      f'{NAME}/0',
      [datasets.picture(1), datasets.picture(2)],
    ),
    (dict(images=MANY), dict(images=[]), f'{NAME}/0', []),
    (
      dict(image=ONE, images=MANY),
      dict(image=b'', images=[datasets.picture(2)]),
      f'{NAME}/0',
      [datasets.picture(2)],
    ),
    (dict(id=np.int64), dict(id=0), '0', []),
    (dict(id=TEXT), dict(id=''), f'{NAME}/0', []),
    (
      dict(id=TEXT, answer=np.int64, mask=ONE),
      dict(id='\u4f60', answer=3, mask=b'no image'),
      '\u4f60',
      [],
    ),
    (
      dict(conversations=tfds.features.Dataset({'from': TEXT, 'value': TEXT})),
      {},
      f'{NAME}/0',
      [],
    ),
    (
      dict(conversations=LISTS),
      dict(conversations={'from': ['human', 'gpt'], 'value': ['Why?', 'So.']}),
      f'{NAME}/0',
      [],
    ),
  ],
)
def test_datasets_of_others_are_read(features, example, id, images, tmp_path):
  """Features that are not asked for are not even looked at."""
  source = tfds_lib.Tfds(
    datasets.write(
      tmp_path / NAME / '1.0.0',
      dict(conversations=TALK) | features,
      [dict(conversations=datasets.talk()) | example],
    )
  )
  assert (source[0].id, list(source[0].images)) == (id, images)
  assert [(t.question, t.answer) for t in source[0].turns] == [('Why?', 'So.')]


def test_one_bad_record_spoils_no_other(tmp_path):
  examples = [
    dict(
      id='a', images=[datasets.picture(1)[:-40]], conversations=datasets.talk()
    ),
    dict(id='b', images=[], conversations=[]),
    dict(id='c', images=[], conversations=datasets.talk(b'\xff')),
    b'nonsense',
    b'',
    tfds.features.FeaturesDict(dict(conversations=LISTS)).serialize_example(
      dict(
        conversations={
          'from': ['human', 'gpt', 'human'],
          'value': ['Why?', 'So.'],
        }
      )
    ),
    dict(id='d', images=[datasets.picture(1)], conversations=datasets.talk()),
  ]
  source = tfds_lib.Tfds(
    datasets.write(
      tmp_path / NAME / '1.0.0',
      dict(id=TEXT, images=MANY, conversations=TALK),
      examples,
    )
  )
  for i, expected in enumerate(
    (
      ('broken image', 'a'),
      ('no turns', 'b'),
      ('bad text', f'{NAME}/2'),
      ('bad bytes', f'{NAME}/3'),
      ('bad bytes', f'{NAME}/4'),
      ('bad bytes', f'{NAME}/5'),
    )
  ):
    with pytest.raises(records.BadRecord) as e:
      source[i]
    assert (e.value.reason, e.value.id) == expected
    with pytest.raises(records.BadRecord):
      source.outline(i)
  assert source[6].id == 'd'


def swap(dataset):
  a, b = datasets.shards(dataset)[:2]
  data = a.read_bytes()
  a.write_bytes(b.read_bytes())
  b.write_bytes(data)


@pytest.mark.parametrize(
  'change',
  [
    lambda d: datasets.edit(datasets.shards(d)[-1], b'r5', b'r9'),
    swap,
    lambda d: datasets.edit(d / 'dataset_info.json', b'"1.0.0"', b'"1.0.1"'),
  ],
)
def test_a_fingerprint_follows_the_data(change, dataset, prepared):
  path = f'tfds:{dataset}'
  before = tfds_lib.Tfds(path).fingerprint
  assert len(before) == 32
  # Hosts mount data where they like.
  assert (
    before == tfds_lib.Tfds(f'tfds:{prepared}/data/{NAME}/1.0.0').fingerprint
  )
  assert before != tfds_lib.Tfds(f'{path}@train[1:]').fingerprint
  change(dataset)
  assert tfds_lib.Tfds(path).fingerprint != before


def test_of_several_formats_the_one_is_taken(dataset):
  datasets.edit(
    dataset / 'dataset_info.json',
    b'"fileFormat": "array_record"',
    b'"fileFormat": "parquet", "alternativeFileFormats": ["array_record"]',
  )
  assert len(datasets.read(tfds_lib.Tfds(f'tfds:{dataset}'))) == COUNT


def test_what_the_system_says_and_videos_are_read(tmp_path):
  """The first is used; of the second no conversation about nothing is made."""
  path = datasets.write(
    tmp_path / '1.0.0',
    dict(conversations=TALK, system=TEXT, video=TEXT),
    [
      dict(conversations=datasets.talk(), system='Be brief.', video=''),
      dict(conversations=datasets.talk(), system='', video='a.mp4'),
    ],
  )
  source = readers.open_source(path)
  assert source[0].turns[0].system == 'Be brief.'
  with pytest.raises(records.BadRecord, match='other modality: video'):
    source[1]
