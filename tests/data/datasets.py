"""Datasets of TFDS, as ours and others' builders leave them."""

import io
import json

from array_record.python import array_record_module
import PIL.Image
import tensorflow_datasets as tfds

from visor_jax.data import tfds_builder
from visor_jax.data.prepare import writer as writer_lib
from visor_jax.data.sources import readers

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


def talk(question='Why?', answer='So.'):
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
    conversations=talk('<image>\n' * count + f'Why {number}?', '\u4f60 \0')
    + talk() * (number % 2),
  )


def prepare(folder):
  """Prepared shards, and the folder of a dataset built of them."""
  for i in range(COUNT + 1):
    (folder / f'{i}.img').write_bytes(picture(i))
  (folder / 'train.json').write_text(
    json.dumps([fields(i) for i in range(COUNT)])
  )
  # Of 1 kB, so that there are several.
  writer_lib.prepare(
    readers.open_source(folder / 'train.json', folder),
    folder / 'shards',
    shard_mb=0.001,
  )
  tfds_builder.build(folder / 'shards', folder / 'data', NAME)
  return folder


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


def shards(dataset):
  """Its files, in order."""
  return sorted(dataset.glob('*.array_record-*'))
