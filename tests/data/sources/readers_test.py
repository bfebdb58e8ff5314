"""Sources over real files: the same records from every kind of them."""

import concurrent.futures
import dataclasses
import io
import json
import os
import pickle
import time

from array_record.python import array_record_module
import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest

from visor_jax.data.sources import encoding
from visor_jax.data.sources import readers
from visor_jax.data.sources import records

COUNT = 7


def jpeg(number):
  out = io.BytesIO()
  PIL.Image.new('RGB', (20 + number, 10), (30 * number, 0, 0)).save(out, 'JPEG')
  return out.getvalue()


def fields(number):
  """Every third has two images, every third none; brackets in strings."""
  count = number % 3
  out = dict(
    id=f'r{number}',
    conversations=[
      {'from': 'human', 'value': '<image>\n' * count + f'{{[{number}"\\ ]?'},
      {'from': 'gpt', 'value': f'\u4f60]}} {number}'},
    ],
  )
  if count:
    names = [f'{(number + k) % COUNT}.jpg' for k in range(count)]
    out['image'] = names if count > 1 else names[0]
  return out


FIELDS = [fields(i) for i in range(COUNT)]


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'images').mkdir()
  for i in range(COUNT):
    (tmp_path / 'images' / f'{i}.jpg').write_bytes(jpeg(i))
  return tmp_path


def write_json(path, rows=FIELDS, **options):
  path.write_text(json.dumps(rows, **options), 'utf-8')
  return path


def write_jsonl(path, rows=FIELDS):
  path.write_text(''.join(json.dumps(r) + '\n' for r in rows), 'utf-8')
  return path


def hub(row):
  """A row as the hub serves it."""
  names = row.get('image', [])
  names = [names] if isinstance(names, str) else names
  return dict(row, image=[dict(bytes=jpeg(int(n[0])), path=n) for n in names])


def write_parquet(path, rows):
  pyarrow.parquet.write_table(
    pyarrow.Table.from_pylist(rows), path, row_group_size=2
  )
  return path


def write_shard(path, raws, outlined=False):
  path.parent.mkdir(exist_ok=True)
  data = [encoding.encode(raw) for raw in raws]
  write_bytes(path, data)
  if outlined:
    write_bytes(path.with_suffix('.outline'), map(encoding.outline, data))
  return path


def write_bytes(path, data):
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for record in data:
    writer.write(record)
  writer.close()


def write_yaml(path, *parts):
  path.write_text(
    'datasets:\n'
    + ''.join(
      f'  - json_path: {name}\n    sampling_strategy: {strategy}\n'
      for name, strategy in parts
    )
  )
  return path


def read(source):
  return [source[i] for i in range(len(source))]


def bare(raw):
  return dataclasses.replace(raw, images=())


def ids(source):
  return [int(raw.id[1:]) for raw in read(source)]


def kinds(folder):
  """One source of each kind, all of the same records."""
  train = write_jsonl(folder / 'train.jsonl')
  (folder / 'train').mkdir(exist_ok=True)
  write_parquet(
    folder / 'train' / 'train-00000-of-00002.parquet',
    [hub(r) for r in FIELDS[:5]],
  )
  write_parquet(
    folder / 'train' / 'train-00001-of-00002.parquet',
    [hub(r) for r in FIELDS[5:]],
  )
  raws = read(readers.open_source(train, folder / 'images'))
  write_shard(folder / 'shards' / 'a.array_record', raws[:3])
  write_shard(folder / 'shards' / 'b.array_record', raws[3:])
  write_shard(folder / 'outlined' / 'a.array_record', raws[:3], outlined=True)
  write_shard(folder / 'outlined' / 'b.array_record', raws[3:], outlined=True)
  return dict(
    json=write_json(folder / 'train.json'),
    jsonl=train,
    yaml=write_yaml(folder / 'mix.yaml', ('train.jsonl', 'all')),
    parquet=folder / 'train',
    array_record=folder / 'shards',
    outlined=folder / 'outlined',
  )


def test_every_kind_gives_the_same_records(folder):
  for kind, path in kinds(folder).items():
    source = readers.open_source(path, folder / 'images')
    found = read(source)
    assert len(source) == COUNT
    assert [r.id for r in found] == [f'r{i}' for i in range(COUNT)], kind
    for i, raw in enumerate(found):
      assert raw.images == tuple(jpeg((i + k) % COUNT) for k in range(i % 3))
      assert raw.sizes == tuple(
        (10, 20 + (i + k) % COUNT) for k in range(i % 3)
      )
      assert [(t.question, t.answer, t.family) for t in raw.turns] == [
        (
          f'{"<image>" + chr(10)}' * (i % 3) + f'{{[{i}"\\ ]?',
          f'\u4f60]}} {i}',
          'train',
        )
      ], kind
    assert source[np.int64(3)] == found[3]  # what samplers draw
    for i in map(np.int64, range(COUNT)):
      assert bare(source.outline(i)) == bare(found[i]), kind


def test_an_outline_is_read_without_its_record(folder):
  """A host that plans rows has no time for images."""
  path = kinds(folder)['outlined']
  mixture = write_yaml(
    folder / 'm.yaml', ('train.jsonl', 'first:2'), ('outlined', 'end:4')
  )
  expected = read(readers.open_source(path))
  alone = readers.open_source(path / 'b.array_record')
  source, mixture = (
    readers.open_source(p, folder / 'images') for p in (path, mixture)
  )
  for shard in path.glob('*.array_record'):
    shard.unlink()  # files are opened when they are read
  with pytest.raises(RuntimeError):
    source[0]
  found = [source.outline(i) for i in range(COUNT)]
  assert found == list(map(bare, expected))
  assert [alone.outline(i) for i in range(4)] == found[3:]
  assert [mixture.outline(i) for i in range(2, 6)] == found[3:]
  assert bare(mixture.outline(1)) == found[1]


def test_without_outlines_the_record_tells(folder):
  """Of some shards only is as good as none."""
  path = kinds(folder)['outlined']
  expected = list(map(bare, read(readers.open_source(path))))
  (path / 'a.outline').unlink()
  source = readers.open_source(path)
  (path / 'b.outline').unlink()
  assert [source.outline(i) for i in range(COUNT)] == expected


def test_outlines_of_other_shards_are_refused(folder):
  path = kinds(folder)['outlined']
  write_bytes(path / 'a.outline', [b'something else'] * 3)
  with pytest.raises(records.BadRecord, match='outlined/2: bad bytes'):
    readers.open_source(path).outline(2)
  write_bytes(path / 'b.outline', [b''] * 5)
  with pytest.raises(ValueError, match='8 outlines of 7 records'):
    readers.open_source(path)


def test_a_pattern_may_take_outlines_along(folder):
  path = kinds(folder)['outlined']
  source = readers.open_source(path / '*')
  assert len(source) == COUNT
  assert source.fingerprint == readers.open_source(path).fingerprint


def test_a_source_is_read_by_threads_and_by_other_processes(folder):
  """Pickled after a read, when files and row groups may be open."""
  order = list(range(COUNT)) * 8
  for kind, path in kinds(folder).items():
    source = readers.open_source(path, folder / 'images')
    expected = read(source)
    data = pickle.dumps(source)
    assert jpeg(1) not in data, f'{kind} carries its data'
    copy = pickle.loads(data)
    assert copy.fingerprint == source.fingerprint
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
      found = list(pool.map(copy.__getitem__, order))
      outlines = list(pool.map(copy.outline, order))
    assert found == [expected[i] for i in order], kind
    assert list(map(bare, outlines)) == [bare(expected[i]) for i in order], kind


@pytest.mark.parametrize(
  'options',
  [{}, dict(indent=2), dict(ensure_ascii=False), dict(separators=(',', ':'))],
)
def test_a_json_list_may_be_laid_out_in_any_way(folder, options):
  path = write_json(folder / 'x.json', **options)
  path.write_bytes(b'\xef\xbb\xbf\n ' + path.read_bytes() + b'\n')
  assert ids(readers.open_source(path, folder / 'images')) == list(range(COUNT))


def test_lines_may_be_empty_and_the_last_without_end(folder):
  path = write_jsonl(folder / 'x.jsonl')
  path.write_bytes(
    b'\xef\xbb\xbf' + path.read_bytes().replace(b'\n', b'\r\n\n').rstrip()
  )
  assert ids(readers.open_source(path, folder / 'images')) == list(range(COUNT))


@pytest.mark.parametrize('write', [write_json, write_jsonl])
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
  assert len(source) == COUNT
  for i in range(COUNT):
    if i != 2:
      assert source[i].id == f'r{i}'
  with pytest.raises(records.BadRecord, match='^x/2: ') as e:
    source[2]
  assert (e.value.reason, e.value.id) == (why, 'x/2')


def test_bad_records_say_their_own_id(folder):
  os.remove(folder / 'images' / '2.jpg')
  for path in (
    write_json(folder / 'x.json'),
    write_parquet(
      folder / 'x.parquet',
      [
        dict(
          r, image=[dict(bytes=None, path=n['path']) for n in hub(r)['image']]
        )
        for r in FIELDS
      ],
    ),
  ):
    with pytest.raises(records.BadRecord, match='r2: missing image: 2.jpg'):
      readers.open_source(path, folder / 'images')[2]
    assert readers.open_source(path, folder / 'images')[3].id == 'r3'
  data = write_parquet(folder / 'y.parquet', FIELDS)
  data.write_bytes(data.read_bytes().replace(b'r2', b'\xffr'))
  with pytest.raises(records.BadRecord, match='y/2: bad text'):
    readers.open_source(data, folder / 'images')[2]


@pytest.mark.parametrize(
  'rows',
  [
    [dict(r, image=hub(r)['image'][0]) for r in FIELDS if r['id'] in 'r1r4'],
    [
      dict(r, image=hub(r)['image'][0]['bytes'])
      for r in FIELDS
      if r['id'] in 'r1r4'
    ],
    [r for r in FIELDS if r['id'] in 'r1r4'],
    [
      dict(
        id=r['id'],
        images=hub(r)['image'],
        source='other',
        conversations=r['conversations'],
      )
      for r in FIELDS
      if r['id'] in 'r1r4'
    ],
  ],
)
def test_parquet_images_are_structs_bytes_or_paths(folder, rows):
  path = write_parquet(folder / 'x.parquet', rows)
  source = readers.open_source(path, folder / 'images')
  assert [r.images for r in read(source)] == [(jpeg(1),), (jpeg(4),)]


@pytest.mark.parametrize(
  'strategy,expected',
  [
    ('all', range(7)),
    ('first:3', range(3)),
    ('end:3', range(4, 7)),
    ('first:20%', range(2)),
    ('end:20%', range(5, 7)),  # 1.4, rounded up
    ('first:0.1%', range(1)),
    ('first:99', range(7)),
    ('end:99', range(7)),
    ('end:100%', range(7)),
  ],
)
def test_a_mixture_takes_what_its_strategy_says(strategy, expected, folder):
  write_json(folder / 'a.json')
  write_jsonl(folder / 'b.jsonl', FIELDS[:2])
  path = write_yaml(folder / 'm.yaml', ('a.json', strategy), ('b.jsonl', 'all'))
  source = readers.open_source(path, folder / 'images')
  assert ids(source) == [*expected, 0, 1]
  assert source[len(source) - 1].turns[0].family == 'b'


def test_a_share_is_counted_exactly():
  """0.07 * 10000 is 700.0000000000001, which would round up to 701."""
  assert len(readers._chosen('first:7%', 10000, (0, 0))) == 700


def test_random_choices_hang_on_the_seed_alone(folder):
  """The numbers are written down: another numpy must draw the same."""
  rows = [dict(FIELDS[0], id=f'r{i}') for i in range(40)]
  write_json(folder / 'a.json', rows)
  path = write_yaml(
    folder / 'm.yaml', ('a.json', 'random:10%'), ('a.json', 'random:4')
  )
  drawn = [ids(readers.open_source(path, seed=seed)) for seed in (0, 0, 1)]
  assert drawn[0] == drawn[1] == [3, 11, 13, 20, 7, 10, 18, 35]
  assert drawn[0] != drawn[2]
  assert drawn[0][:4] != drawn[0][4:], 'datasets draw apart'
  assert all(len(set(d[:4])) == 4 for d in drawn)


@pytest.mark.parametrize(
  'text,message',
  [
    ('datasets:\n- json_path: a.json\n  sampling_strategy: some', '"some"'),
    ('datasets:\n- json_path: a.json\n  sampling_strategy: first', '"first"'),
    ('datasets:\n- json_path: a.json\n  sampling_strategy: end:-1', '"end:-1"'),
    (
      'datasets:\n- json_path: a.json\n  sampling_strategy: end:0',
      'no records',
    ),
    ('datasets:\n- path: a.json', 'json_path'),
    ('[]', 'json_path'),
    ('datasets: [', 'json_path'),
    ('', 'json_path'),
    ('datasets:\n- json_path: gone.json', 'gone.json'),
  ],
)
def test_a_wrong_mixture_says_what_is_wrong(text, message, folder):
  write_json(folder / 'a.json')
  (folder / 'm.yaml').write_text(text)
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    readers.open_source(folder / 'm.yaml')


def edit(path, old, new):
  data = path.read_bytes()
  assert old in data and len(old) == len(new)
  path.write_bytes(data.replace(old, new, 1))


@pytest.mark.parametrize(
  'kind,change',
  [
    ('json', lambda f: edit(f / 'train.json', b'"r3"', b'"r9"')),
    ('jsonl', lambda f: edit(f / 'train.jsonl', b'"r3"', b'"r9"')),
    ('jsonl', lambda f: write_jsonl(f / 'train.jsonl', FIELDS[:-1])),
    ('yaml', lambda f: edit(f / 'train.jsonl', b'"r3"', b'"r9"')),
    ('yaml', lambda f: write_yaml(f / 'mix.yaml', ('train.jsonl', 'end:7'))),
    (
      'parquet',
      lambda f: edit(
        f / 'train' / 'train-00001-of-00002.parquet', b'r5', b'r9'
      ),
    ),
    (
      'parquet',
      lambda f: os.remove(f / 'train' / 'train-00001-of-00002.parquet'),
    ),
    (
      'parquet',
      lambda f: os.rename(
        f / 'train' / 'train-00001-of-00002.parquet',
        f / 'train' / 'train-00000-of-00001.parquet',
      ),
    ),
    (
      'array_record',
      lambda f: edit(f / 'shards' / 'b.array_record', b'VJR1', b'VJR2'),
    ),
    ('array_record', lambda f: os.remove(f / 'shards' / 'b.array_record')),
    (
      'outlined',
      lambda f: edit(f / 'outlined' / 'b.outline', b'VJR1', b'VJR2'),
    ),
    ('outlined', lambda f: os.remove(f / 'outlined' / 'b.outline')),
    (
      'array_record',
      lambda f: (f / 'shards' / 'shards.json').write_text('{"shards": []}'),
    ),
  ],
)
def test_a_fingerprint_follows_the_data(kind, change, folder):
  path = kinds(folder)[kind]
  before = readers.open_source(path).fingerprint
  assert before == readers.open_source(path).fingerprint and len(before) == 32
  change(folder)
  assert readers.open_source(path).fingerprint != before


def test_a_fingerprint_is_the_same_in_another_folder(folder, tmp_path_factory):
  """Hosts mount data where they like."""
  other = tmp_path_factory.mktemp('other')
  (other / 'images').symlink_to(folder / 'images')
  theirs = kinds(other)
  for kind, path in kinds(folder).items():
    assert readers.open_source(path).fingerprint == (
      readers.open_source(theirs[kind]).fingerprint
    ), kind


def test_a_seed_is_part_of_a_mixtures_fingerprint(folder):
  path = kinds(folder)['yaml']
  assert readers.open_source(path, seed=1).fingerprint != (
    readers.open_source(path, seed=2).fingerprint
  )


def test_a_list_that_is_cut_short_is_refused_at_once(folder):
  """Cut in a string; looking for its end from every byte takes long."""
  path = write_json(folder / 'x.json', [FIELDS[1], dict(id='x' * 100_000)])
  path.write_bytes(path.read_bytes()[:-100])
  start = time.process_time()
  with pytest.raises(ValueError, match='cut short after 1 records'):
    readers.open_source(path)
  assert time.process_time() - start < 1


@pytest.mark.parametrize(
  'make,message',
  [
    (lambda f: f / 'gone.json', 'no such file'),
    (lambda f: f / 'gone-*.parquet', 'expected a .json'),
    (lambda f: f, 'expected a .json'),
    (lambda f: write_json(f / 'x.txt'), 'expected a .json'),
    (lambda f: write_json(f / 'x.json', []), 'no records'),
    (lambda f: write_jsonl(f / 'x.jsonl', []), 'no records'),
    (lambda f: write_json(f / 'x.parquet'), 'not a parquet file'),
    (lambda f: write_json(f / 'x.array_record'), 'not ArrayRecord'),
    (lambda f: write_shard(f / 'x.array_record', []), 'no records'),
    (
      lambda f: write_parquet(f / 'x.parquet', [dict(a=1, b=2)]),
      'no column conversations, only a, b',
    ),
    (lambda f: 'tfds:', 'expected tfds:NAME'),
  ],
)
def test_what_is_no_source_is_said(make, message, folder):
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    readers.open_source(make(folder))


def test_splits_are_not_mixed(folder):
  """Test questions would be trained on."""
  for name in (
    'train-00000-of-00002',
    'train-00001-of-00002',
    'test-00000-of-00001',
  ):
    write_parquet(folder / f'{name}.parquet', FIELDS[:3])
  with pytest.raises(ValueError, match='holds test, train; say which'):
    readers.open_source(folder)
  assert len(readers.open_source(folder / 'train-*.parquet')) == 6


def test_shards_in_the_making_and_lost_ones_are_refused(folder):
  path = kinds(folder)['array_record']
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


def test_foreign_array_records_are_bad_bytes(folder):
  writer = array_record_module.ArrayRecordWriter(
    str(folder / 'x.array_record'), 'group_size:1'
  )
  writer.write(b'something else')
  writer.close()
  source = readers.open_source(folder / 'x.array_record')
  with pytest.raises(records.BadRecord, match=f'{folder.name}/0: bad bytes'):
    source[0]
