"""Records of a TensorFlow dataset, read without TensorFlow.

  tfds:NAME[/CONFIG][:VERSION][@SPLIT]   as tfds spells names, and looks for
                                         them: in TFDS_DATA_DIR or
                                         ~/tensorflow_datasets
  tfds:/FOLDER/OF/A/VERSION[@SPLIT]      as in /data/my_chart_set/1.0.0

SPLIT is what tfds takes for one, like validation or train[:80%]; train if none
is given. The dataset is prepared with file_format='array_record'. Its features
are `conversations`, a Sequence of {from, value}, and maybe `id` and `image` or
`images`, an Image or a Sequence of them: see `records.of_llava`.

The library is slow to import and optional, so it is opened with a dataset.
"""

import pathlib
import re

from array_record.python import array_record_data_source
import numpy as np

from visor_jax.data.sources import records
from visor_jax.data.sources import shards

FORMAT = 'array_record'

_PATH = re.compile(
  r'tfds:(?P<what>[/~].*?|'
  r'[a-zA-Z]\w*(/[\w+.-]+)?(:(\d+|\*)(\.(\d+|\*)){2})?)'
  r'(@(?P<split>[^/@]+))?'
)


def library():
  """The module tensorflow_datasets.

  Raises:
    ValueError: it is not installed.
  """
  try:
    import tensorflow_datasets
  except ImportError as e:
    raise ValueError(
      'tfds: tensorflow_datasets cannot be imported; pip '
      f"install 'visor_jax[tfds]': {e}"
    ) from None
  return tensorflow_datasets


class Tfds:
  """A split of a prepared dataset.

  Its name is the dataset's, with /CONFIG if there is one.

  Args:
    path: 'tfds:...', see above.
    data_dir: where names are looked for instead.

  Raises:
    ValueError: the path is none, tfds is not installed, or the dataset is not
      found, not whole, not in ArrayRecord files, or not of conversations.
  """

  def __init__(self, path: str, data_dir=None):
    found = _PATH.fullmatch(path)
    if not found:
      raise ValueError(
        f'{path}: expected tfds:NAME[/CONFIG][:VERSION][@SPLIT] '
        'or tfds:/FOLDER/OF/A/VERSION[@SPLIT]'
      )
    tfds = library()
    builder = _builder(tfds, path, found['what'], data_dir)
    info, split = builder.info, found['split'] or 'train'
    _check_split(tfds, path, info, split)
    self.name = '/'.join(filter(None, (info.name, info.config_name)))
    self._parser = _parser(path, info.features)
    # Bytes, because tfds opens what is in an Image, and its SkipDecoding cannot
    # be had for a Sequence of them without TensorFlow.
    self._records = builder.as_data_source(
      split,
      file_format=FORMAT,
      deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
    )
    # Only now, because of several formats as_data_source sets the one to read.
    files = info.splits[split].file_instructions
    self.fingerprint = shards.digest(
      self.name,
      str(info.version),
      [(pathlib.Path(f.filename).name, f.skip, f.take) for f in files],
      *_traces(path, files),
    )

  def __len__(self):
    return len(self._records)

  def __getitem__(self, index: int) -> records.Raw:
    data, name = self._records[index], f'{self.name}/{index}'
    try:
      fields = _fields(self._parser.parse_example(data))
    except UnicodeDecodeError as e:
      raise records.BadRecord('bad text', str(e), name) from None
    except Exception as e:  # the file was read, so it is not the disk
      raise records.BadRecord('bad bytes', str(e), name) from None
    return records.of_llava(fields, name, None, self.name)

  def outline(self, index: int) -> records.Raw:
    """The record itself: sizes are known by the images alone."""
    return self[index]


def _builder(tfds, path, what, data_dir):
  """The builder of a dataset's files; its code, if tfds has some, stays shut.

  That could want TensorFlow or the network.
  """
  if what[0] in '/~':
    try:
      return tfds.builder_from_directory(what)
    except (OSError, ValueError) as e:
      raise ValueError(
        f'{path}: {e}; expected the folder of a version that '
        'was prepared, like /data/my_chart_set/1.0.0'
      ) from None
  from tensorflow_datasets.core import read_only_builder

  try:
    return read_only_builder.builder_from_files(what, data_dir=data_dir)
  except ValueError as e:
    raise ValueError(
      f'{path}: {" ".join(str(e).split())} Prepare it first, set '
      'TFDS_DATA_DIR to where it is, or give the folder of a version, like '
      'tfds:/data/my_chart_set/1.0.0'
    ) from None


def _check_split(tfds, path, info, split):
  """The split is there, has records, and can be read one by one."""
  formats = info.available_file_formats()
  if tfds.core.FileFormat(FORMAT) not in formats:
    raise ValueError(
      f'{path}: is in {", ".join(sorted(f.value for f in formats))} files; '
      f"prepare it again with file_format='{FORMAT}'"
    )
  try:
    count = info.splits[split].num_examples
  except ValueError as e:
    raise ValueError(f'{path}: {e}') from None
  if not count:
    raise ValueError(f'{path}: no records in {split}')


def _parser(path, features):
  """Takes an example's bytes apart, those fields that records have."""
  from tensorflow_datasets.core import example_parser

  every = features.get_serialized_info()
  specs = {
    name: every[name] for name in ('id', 'image', 'images') if name in every
  }
  if 'conversations' not in every:
    raise ValueError(
      f'{path}: no feature conversations, only {", ".join(sorted(every))}'
    )
  talk = every['conversations']
  if not isinstance(talk, dict) or not all(
    _is_bytes(talk.get(name), 1) for name in ('from', 'value')
  ):
    raise ValueError(
      f'{path}: conversations are {features["conversations"]}; '
      'expected a Sequence of {from, value}, both Text'
    )
  specs['conversations'] = {name: talk[name] for name in ('from', 'value')}
  for name in ('image', 'images'):
    if name in specs and not _is_bytes(specs[name], 0, 1):
      raise ValueError(
        f'{path}: {name} is {features[name]}; expected an Image '
        'or a Sequence of them'
      )
  if 'id' in specs and getattr(specs['id'], 'shape', None) != ():
    raise ValueError(f'{path}: id is {features["id"]}; expected one Text')
  return example_parser.ExampleParserNp(specs)


def _is_bytes(spec, *ranks):
  """A field is stored as byte strings, of one of these ranks."""
  return (
    hasattr(spec, 'np_dtype')
    and np.dtype(spec.np_dtype) == object
    and len(spec.shape) in ranks
  )


def _traces(path, files):
  """Those of `shards.traces`, of files that hold what tfds says."""
  said = {pathlib.Path(f.filename): f.examples_in_shard for f in files}
  try:
    traces = shards.traces(said)
    count = len(array_record_data_source.ArrayRecordDataSource(list(said)))
  except FileNotFoundError as e:
    raise ValueError(
      f'{path}: {e.filename} is missing; prepare it again'
    ) from None
  except RuntimeError as e:
    raise ValueError(f'{path}: not ArrayRecord files: {e}') from None
  if count != sum(said.values()):
    raise ValueError(
      f'{path}: has {count} records, but by its '
      f'dataset_info.json {sum(said.values())}; prepare it '
      'again'
    )
  return traces


def _fields(parsed):
  """What `records.of_llava` takes, of what the parser gives."""
  talk = parsed['conversations']
  found = dict(
    conversations=[
      {'from': who.decode(), 'value': value.decode()}
      for who, value in zip(talk['from'], talk['value'], strict=True)
    ]
  )
  # What is not in a Sequence cannot be left out: who has none writes b''.
  for name in ('id', 'image', 'images'):
    value = parsed.get(name)
    if isinstance(value, np.ndarray):
      found[name] = value.tolist()
    elif value != b'':
      found[name] = value
  if isinstance(found.get('id'), bytes):
    found['id'] = found['id'].decode()
  return found
