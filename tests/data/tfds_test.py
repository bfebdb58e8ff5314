"""TFDS datasets: what `prepare` wrote, built, read here and as tfds reads."""

import concurrent.futures
import io
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

from array_record.python import array_record_module
import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from visor_jax.data import tfds_builder
from visor_jax.data.prepare import writer as writer_lib
from visor_jax.data.sources import readers as files_lib
from visor_jax.data.sources import records
from visor_jax.data.sources import tfds as tfds_lib

COUNT = 6
NAME = 'my_chart_set'
TEXT = tfds.features.Text()
TALK = tfds.features.Sequence({'from': TEXT, 'value': TEXT})


def picture(number):
  """Ends in zeros, which numpy's own strings would lose."""
  out = io.BytesIO()
  PIL.Image.new('RGB', (20 + number, 10), (30 * number, 0, 0)).save(
    out, ('JPEG', 'PNG')[number % 2]
  )
  return out.getvalue() + b'\0\0'


def said(question='Why?', answer='So.'):
  return [
    {'from': 'human', 'value': question},
    {'from': 'gpt', 'value': answer},
  ]


def fields(number):
  """Every third without images, every third with two; some of two turns."""
  count = number % 3
  return dict(
    id=f'r{number}',
    images=[f'{number + k}.img' for k in range(count)],
    conversations=said('<image>\n' * count + f'Why {number}?', '\u4f60 \0')
    + said() * (number % 2),
  )


@pytest.fixture(scope='session')
def prepared(tmp_path_factory):
  """Prepared shards, and the folder of a dataset built of them."""
  folder = tmp_path_factory.mktemp('prepared')
  for i in range(COUNT + 1):
    (folder / f'{i}.img').write_bytes(picture(i))
  (folder / 'train.json').write_text(
    json.dumps([fields(i) for i in range(COUNT)])
  )
  # Of 1 kB, so that there are several.
  writer_lib.prepare(
    files_lib.open_source(folder / 'train.json', folder),
    folder / 'shards',
    shard_mb=0.001,
  )
  tfds_builder.build(folder / 'shards', folder / 'data', NAME)
  return folder


@pytest.fixture
def dataset(prepared, tmp_path):
  """Its own copy of the dataset's version."""
  return pathlib.Path(
    shutil.copytree(
      prepared / 'data' / NAME / '1.0.0', tmp_path / NAME / '1.0.0'
    )
  )


def write(folder, features, examples, split='train', name=NAME, config=None):
  """A dataset of other features, as others write theirs."""
  folder.mkdir(parents=True)
  features = tfds.features.FeaturesDict(features)
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder,
    dataset_name=name,
    split=split,
    filetype_suffix='array_record',
  )
  writer = array_record_module.ArrayRecordWriter(
    str(template.sharded_filepath(shard_index=0, num_shards=1)), 'group_size:1'
  )
  for example in examples:
    writer.write(
      example
      if isinstance(example, bytes)
      else features.serialize_example(example)
    )
  writer.close()
  info = tfds.core.DatasetInfo(
    builder=tfds.core.DatasetIdentity(
      name=name,
      version=tfds.core.Version(folder.name),
      data_dir=str(folder),
      module_name='',
      config_name=config,
    ),
    features=features,
  )
  info.set_file_format('array_record')
  info.set_splits(
    tfds.core.SplitDict(
      [
        tfds.core.SplitInfo(
          name=split,
          shard_lengths=[len(examples)],
          num_bytes=0,
          filename_template=template,
        )
      ]
    )
  )
  info.write_to_directory(folder)
  return f'tfds:{folder}'


def edit(path, old, new):
  data = path.read_bytes()
  assert old in data
  path.write_bytes(data.replace(old, new, 1))


def read(source):
  return [source[i] for i in range(len(source))]


def test_what_was_prepared_comes_back(prepared):
  """Equal records; the turns' family is the name of the dataset."""
  before = read(files_lib.open_source(prepared / 'shards'))
  source = files_lib.open_source(f'tfds:{prepared}/data/{NAME}/1.0.0')
  found = read(source)
  assert [r.id for r in found] == [f'r{i}' for i in range(COUNT)]
  for i, (raw, old) in enumerate(zip(found, before, strict=True)):
    assert raw.images == tuple(picture(i + k) for k in range(i % 3))
    assert (raw.id, raw.images, raw.sizes) == (old.id, old.images, old.sizes)
    assert [(t.question, t.answer) for t in raw.turns] == [
      (t.question, t.answer) for t in old.turns
    ]
    assert {t.family for t in raw.turns} == {source.name} == {NAME}
    assert source.outline(np.int64(i)) == raw == source[np.int64(i)]


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
  assert [r.id for r in read(named)] == [f'r{i}' for i in expected]
  split = words.partition('@')[1:]
  folder = tfds_lib.Tfds(f'tfds:{prepared}/data/{NAME}/1.0.0{"".join(split)}')
  assert read(folder) == read(named)
  assert folder.fingerprint == named.fingerprint


def test_a_config_is_part_of_the_name(tmp_path):
  at = write(
    tmp_path / 'a@b' / NAME / 'hard.v2' / '2.0.1',
    dict(conversations=TALK),
    [dict(conversations=said())],
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
  expected, order = read(source), list(range(COUNT)) * 20
  data = pickle.dumps(source)
  assert picture(1) not in data and len(data) < 20_000
  copy = pickle.loads(data)
  assert copy.fingerprint == source.fingerprint
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(copy.__getitem__, order))
  assert found == [expected[i] for i in order]


def test_a_mixture_has_datasets_too(dataset, tmp_path):
  (tmp_path / 'm.yaml').write_text(
    f'datasets:\n- json_path: tfds:{dataset}\n  sampling_strategy: end:2\n'
  )
  found = read(files_lib.open_source(tmp_path / 'm.yaml'))
  assert [r.id for r in found] == [f'r{i}' for i in (COUNT - 2, COUNT - 1)]


# Stored as TALK is.
LISTS = {
  'from': tfds.features.Sequence(TEXT),
  'value': tfds.features.Sequence(TEXT),
}
ONE, MANY = tfds.features.Image(), tfds.features.Sequence(tfds.features.Image())


@pytest.mark.parametrize(
  'features,example,id,images',
  [
    (dict(image=ONE), dict(image=picture(1)), f'{NAME}/0', [picture(1)]),
    (dict(image=ONE), dict(image=b''), f'{NAME}/0', []),
    (
      dict(image=MANY),
      dict(image=[picture(1), picture(2)]),
      f'{NAME}/0',
      [picture(1), picture(2)],
    ),
    (dict(images=MANY), dict(images=[]), f'{NAME}/0', []),
    (
      dict(image=ONE, images=MANY),
      dict(image=b'', images=[picture(2)]),
      f'{NAME}/0',
      [picture(2)],
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
    write(
      tmp_path / NAME / '1.0.0',
      dict(conversations=TALK) | features,
      [dict(conversations=said()) | example],
    )
  )
  assert (source[0].id, list(source[0].images)) == (id, images)
  assert [(t.question, t.answer) for t in source[0].turns] == [('Why?', 'So.')]


def test_one_bad_record_spoils_no_other(tmp_path):
  examples = [
    dict(id='a', images=[picture(1)[:-40]], conversations=said()),
    dict(id='b', images=[], conversations=[]),
    dict(id='c', images=[], conversations=said(b'\xff')),
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
    dict(id='d', images=[picture(1)], conversations=said()),
  ]
  source = tfds_lib.Tfds(
    write(
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


def files(dataset):
  return sorted(dataset.glob('*.array_record-*'))


def swap(dataset):
  a, b = files(dataset)[:2]
  data = a.read_bytes()
  a.write_bytes(b.read_bytes())
  b.write_bytes(data)


@pytest.mark.parametrize(
  'change',
  [
    lambda d: edit(files(d)[-1], b'r5', b'r9'),
    swap,
    lambda d: edit(d / 'dataset_info.json', b'"1.0.0"', b'"1.0.1"'),
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
    files_lib.open_source(path)
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
def test_what_is_not_there_is_said(words, message, prepared):
  with pytest.raises(ValueError, match=f'(?s){message}'):
    tfds_lib.Tfds(f'tfds:{words}', prepared / 'data')


@pytest.mark.parametrize(
  'change,message',
  [
    (lambda d: shutil.rmtree(d), 'expected the folder of a version'),
    (lambda d: (d / 'features.json').unlink(), 'expected the folder of a vers'),
    (
      lambda d: edit(d / 'dataset_info.json', b'array_record"', b'tfrecord"'),
      "is in tfrecord files; prepare it again with file_format='array_record'",
    ),
    (lambda d: files(d)[0].unlink(), '-00000-of-.* is missing; prepare'),
    (lambda d: files(d)[0].write_bytes(b'no records'), 'not ArrayRecord files'),
    (
      lambda d: edit(
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


def test_of_several_formats_the_one_is_taken(dataset):
  edit(
    dataset / 'dataset_info.json',
    b'"fileFormat": "array_record"',
    b'"fileFormat": "parquet", "alternativeFileFormats": ["array_record"]',
  )
  assert len(read(tfds_lib.Tfds(f'tfds:{dataset}'))) == COUNT


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
  ],
)
def test_a_dataset_of_something_else_is_refused(
  features, example, message, tmp_path
):
  path = write(tmp_path / NAME / '1.0.0', features, [example])
  with pytest.raises(ValueError, match=message):
    tfds_lib.Tfds(path)


def test_who_lacks_tfds_is_told_the_extra(monkeypatch, prepared, tmp_path):
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  for act in (
    lambda: files_lib.open_source(f'tfds:{NAME}'),
    lambda: tfds_builder.build(prepared / 'shards', tmp_path, NAME),
  ):
    with pytest.raises(ValueError, match=r"pip install 'visor_jax\[tfds\]'"):
      act()


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
  assert len(files_lib.open_source(path)) == COUNT
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
def test_what_cannot_be_built_is_said(
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
  edit(sorted(shards.glob('*.array_record'))[-1], b'VJR1', b'XXXX')
  with pytest.raises(RuntimeError, match='Corrupted'):
    tfds_builder.build(shards, tmp_path / 'data', NAME)
  assert not list((tmp_path / 'data' / NAME).iterdir())
  shutil.rmtree(shards)
  tfds_builder.build(prepared / 'shards', tmp_path / 'data', NAME)
