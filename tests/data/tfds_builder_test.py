"""What `prepare` wrote as a TFDS dataset, read here and as tfds reads it."""

import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data import datasets
from visor_jax.data import tfds_builder
from visor_jax.data.prepare import writer
from visor_jax.data.sources import readers

COUNT, NAME = datasets.COUNT, datasets.NAME


@pytest.fixture(scope='session')
def prepared(tmp_path_factory):
  """Prepared shards, and the folder of a dataset built of them."""
  return datasets.prepare(tmp_path_factory.mktemp('prepared'))


def test_what_was_prepared_comes_back(prepared):
  """Equal records; the turns' family is the name of the dataset."""
  before = datasets.read(readers.open_source(prepared / 'shards'))
  source = readers.open_source(f'tfds:{prepared}/data/{NAME}/1.0.0')
  built = datasets.read(source)
  assert [r.id for r in built] == [f'r{i}' for i in range(COUNT)]
  for i, (raw, old) in enumerate(zip(built, before, strict=True)):
    assert raw.images == tuple(datasets.picture(i + k) for k in range(i % 3))
    assert (raw.id, raw.images, raw.sizes) == (old.id, old.images, old.sizes)
    assert [(t.question, t.answer) for t in raw.turns] == [
      (t.question, t.answer) for t in old.turns
    ]
    assert {t.family for t in raw.turns} == {source.name} == {NAME}
    assert source.outline(np.int64(i)) == raw == source[np.int64(i)]


def test_what_the_system_says_comes_back(tmp_path):
  (tmp_path / 'train.json').write_text(
    json.dumps(
      [
        dict(
          id='a',
          conversations=[
            {'from': 'system', 'value': 'Be brief.'},
            *datasets.talk(),
            *datasets.talk(),
          ],
        )
      ]
    )
  )
  writer.prepare(
    readers.open_source(tmp_path / 'train.json'), tmp_path / 'shards', 1
  )
  tfds_builder.build(tmp_path / 'shards', tmp_path / 'data', NAME)
  source = readers.open_source(f'tfds:{tmp_path}/data/{NAME}/1.0.0')
  assert [turn.system for turn in source[0].turns] == ['Be brief.', '']


def test_tfds_itself_reads_what_was_built(prepared):
  """With pixels, and a file for each shard under tfds's own name."""
  data = tfds.data_source(NAME, data_dir=prepared / 'data', split='train')
  shapes = [[i.shape for i in example['images']] for example in data]
  assert shapes == [
    [(10, 20 + i + k, 3) for k in range(i % 3)] for i in range(COUNT)
  ]
  assert [e['id'].decode() for e in data] == [f'r{i}' for i in range(COUNT)]
  assert data[1]['conversations'] == {
    'from': [b'human', b'gpt'] * 2,
    'value': [b'<image>\nWhy 1?', '\u4f60 \0'.encode(), b'Why?', b'So.'],
  }
  shards = sorted(p.name for p in (prepared / 'shards').glob('*.array_record'))
  files = sorted(
    p.name
    for p in (prepared / 'data' / NAME / '1.0.0').glob(
      f'{NAME}-train.array_record-*'
    )
  )
  assert len(files) == len(shards) > 1
  assert files[0].endswith(f'-00000-of-{len(shards):05d}')


def test_the_command_builds_once(prepared, tmp_path, capsys):
  words = [
    '--shards',
    str(prepared / 'shards'),
    '--data-dir',
    str(tmp_path),
    '--name',
    'again',
    '--version',
    '2.0.0',
  ]
  assert tfds_builder.main(words) == 0
  path = capsys.readouterr().out.split()[-1]
  assert path == f'tfds:{tmp_path}/again/2.0.0'
  assert len(readers.open_source(path)) == COUNT
  assert tfds_builder.main(words) == 1
  assert 'is there already; give another version' in capsys.readouterr().err


@pytest.mark.parametrize(
  'change,words,message',
  [
    (None, dict(name='MyCharts'), 'expected one like my_chart_set'),
    (None, dict(version='1'), 'expected one like 1.0.0'),
    (lambda s: (s / 'shards.json').unlink(), {}, 'shards.json is missing'),
    (
      lambda s: shutil.copy(
        next(s.glob('*.array_record')), s / 'a.array_record'
      ),
      {},
      'remove the files it does not name',
    ),
    (
      lambda s: (s.parent / 'data' / NAME / 'incomplete.1.0.0').mkdir(
        parents=True
      ),
      {},
      'another build',
    ),
  ],
)
def test_what_cannot_be_built_is_named(
  change, words, message, prepared, tmp_path
):
  shards = tmp_path / 'shards'
  shutil.copytree(prepared / 'shards', shards)
  if change:
    change(shards)
  with pytest.raises(ValueError, match=message):
    tfds_builder.build(shards, tmp_path / 'data', **dict(name=NAME) | words)
  assert not list(tmp_path.glob('data/*/1.0.0'))


def test_a_build_that_fails_leaves_nothing(prepared, tmp_path):
  shards = tmp_path / 'shards'
  shutil.copytree(prepared / 'shards', shards)
  datasets.edit(sorted(shards.glob('*.array_record'))[-1], b'VJR1', b'XXXX')
  with pytest.raises(RuntimeError, match='Corrupted'):
    tfds_builder.build(shards, tmp_path / 'data', NAME)
  assert not list((tmp_path / 'data' / NAME).iterdir())
  shutil.rmtree(shards)
  tfds_builder.build(prepared / 'shards', tmp_path / 'data', NAME)
