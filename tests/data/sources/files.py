"""Files of the same records in every kind of source."""

import dataclasses
import io
import json

from array_record.python import array_record_module
import PIL.Image
import pyarrow
import pyarrow.parquet

from visor_jax.data.sources import encoding
from visor_jax.data.sources import readers

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


def images(path):
  """A folder of its own with the images that the records speak of."""
  (path / 'images').mkdir()
  for i in range(COUNT):
    (path / 'images' / f'{i}.jpg').write_bytes(jpeg(i))
  return path


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


def edit(path, old, new):
  data = path.read_bytes()
  assert old in data and len(old) == len(new)
  path.write_bytes(data.replace(old, new, 1))
