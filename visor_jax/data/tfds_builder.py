"""Prepared shards to a TFDS dataset, without TensorFlow.

  python -m visor_jax.data.tfds_builder --shards SHARDS --data-dir DIR \\
      --name my_chart_set

It is what `download_and_prepare(file_format='array_record')` leaves, so
tfds.data_source('my_chart_set', data_dir=DIR, split='train') reads it, and so
does 'tfds:my_chart_set' here. Features: id, images and conversations of {from,
value}. A dataset has one name: the families of a mixture's turns are not kept.
"""

import argparse
from collections.abc import Sequence
import itertools
import json
import pathlib
import re
import shutil
import sys
import types
from typing import Any

from array_record.python import array_record_module

from visor_jax.data import protocols
from visor_jax.data.sources import readers
from visor_jax.data.sources import records
from visor_jax.data.sources import shards as shards_lib
from visor_jax.data.sources import tfds as tfds_lib
from visor_jax.runtime import command


def build(
  shards: pathlib.Path | str,
  data_dir: pathlib.Path | str,
  name: str,
  version: str = '1.0.0',
) -> pathlib.Path:
  """Writes DATA_DIR/NAME/VERSION with a file for each shard, in order.

  The folder has its name when all is written. `download_and_prepare` is not
  used: what is larger than 1 GB it would sort with TensorFlow.

  Args:
    shards: folder that `prepare` wrote.
    data_dir: folder of datasets.
    name: name of this one: lower case, as tfds searches for it.
    version: its version, like '1.0.0'.

  Returns:
    The folder.

  Raises:
    ValueError: `shards` has none, the dataset is there or is being written, a
      name is none, or tfds is not installed.
    OSError: a file cannot be read or written.
    RuntimeError: a shard's bytes are not those that were written.
  """
  if not re.fullmatch('[a-z][a-z0-9_]*', name):
    raise ValueError(f'name is "{name}"; expected one like my_chart_set')
  if not re.fullmatch(r'\d+\.\d+\.\d+', version):
    raise ValueError(f'version is "{version}"; expected one like 1.0.0')
  index = pathlib.Path(shards) / shards_lib.INDEX
  if not index.exists():
    raise ValueError(
      f'{index} is missing; expected a folder that python -m '
      'visor_jax.data.prepare has written'
    )
  tfds = tfds_lib.library()
  source = readers.open_source(shards)
  lengths = [
    shard['records']
    for shard in json.loads(index.read_text('utf-8'))['shards']
    if shard['records']
  ]
  if sum(lengths) != len(source):
    raise ValueError(
      f'{shards} holds {len(source)} records, but {index} says '
      f'{sum(lengths)}; remove the files it does not name'
    )
  folder = pathlib.Path(data_dir) / name / version
  if folder.exists():
    raise ValueError(f'{folder} is there already; give another version')
  part = folder.with_name(f'incomplete.{version}')
  try:
    part.mkdir(parents=True)
  except FileExistsError:
    raise ValueError(
      f'{part}: another build is writing here, or was killed: then remove it'
    ) from None
  try:
    _write(tfds, source, lengths, part, name, version)
    part.rename(folder)
  except BaseException:
    shutil.rmtree(part)
    raise
  return folder


def _write(
  tfds: types.ModuleType,
  source: protocols.Source,
  lengths: Sequence[int],
  folder: pathlib.Path,
  name: str,
  version: str,
) -> None:
  """Files of as many records each, then what tfds says of them."""
  text = tfds.features.Text()
  features = tfds.features.FeaturesDict(
    dict(
      id=text,
      images=tfds.features.Sequence(tfds.features.Image()),
      conversations=tfds.features.Sequence({'from': text, 'value': text}),
    )
  )
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder,
    dataset_name=name,
    split='train',
    filetype_suffix=tfds_lib.FORMAT,
  )
  size, starts = 0, [0, *itertools.accumulate(lengths)]
  for shard, (start, stop) in enumerate(itertools.pairwise(starts)):
    path = template.sharded_filepath(shard_index=shard, num_shards=len(lengths))
    # One record at a time is read, and images are compressed already.
    writer = array_record_module.ArrayRecordWriter(
      str(path), 'group_size:1,uncompressed'
    )
    for number in range(start, stop):
      data = features.serialize_example(_example(source[number]))
      size += len(data)
      writer.write(data)
    writer.close()
  info = tfds.core.DatasetInfo(
    builder=tfds.core.DatasetIdentity(
      name=name,
      version=tfds.core.Version(version),
      data_dir=str(folder),
      module_name=__name__,
    ),
    description=f'Shards of visor_jax, fingerprint {source.fingerprint}.',
    features=features,
    disable_shuffling=True,
  )
  info.set_file_format(tfds_lib.FORMAT)
  info.set_splits(
    tfds.core.SplitDict(
      [
        tfds.core.SplitInfo(
          name='train',
          shard_lengths=lengths,
          num_bytes=size,
          filename_template=template,
        )
      ]
    )
  )
  info.write_to_directory(folder)


def _example(record: records.Record) -> dict[str, Any]:
  """A record as tfds takes it."""
  return dict(
    id=record.id,
    images=list(record.images),
    conversations=[
      {'from': speaker, 'value': value}
      for turn in record.turns
      for speaker, value in (
        ('system', turn.system),
        ('human', turn.question),
        ('gpt', turn.answer),
      )
      if value
    ],
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Builds; returns the exit code."""
  parser = command.parser('python -m visor_jax.data.tfds_builder', __doc__)
  add = parser.add_argument
  add(
    '--shards',
    type=command.local_path,
    required=True,
    help='folder that prepare has written',
  )
  add(
    '--data-dir',
    type=command.local_path,
    required=True,
    help='folder of datasets, TFDS_DATA_DIR',
  )
  add('--name', required=True, help='of the dataset, like my_chart_set')
  add('--version', default='1.0.0', help='default %(default)s')
  args = parser.parse_args(argv)
  # RuntimeError: ArrayRecord's of a full disk.
  return command.run(lambda: _build(args), (*command.MISTAKES, RuntimeError))


def _build(args: argparse.Namespace) -> int:
  folder = build(args.shards, args.data_dir, args.name, args.version)
  print(f'wrote {folder}; a source named tfds:{folder.resolve()}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
