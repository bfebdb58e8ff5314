"""Records of a TensorFlow dataset, read without TensorFlow.

  tfds:NAME[/CONFIG][:VERSION][@SPLIT]   as tfds spells names, and looks for
                                         them: in TFDS_DATA_DIR or
                                         ~/tensorflow_datasets
  tfds:/FOLDER/OF/A/VERSION[@SPLIT]      as in /data/my_chart_set/1.0.0

SPLIT is what tfds takes for one, like validation or train[:80%]; train if none
is given. The dataset is prepared with file_format='array_record'. Its features
are `conversations`, a Sequence of {from, value}, and maybe `id`, `system` and
`image` or `images`, an Image or a Sequence of them: see `llava.parse`.

The library is slow to import and optional, so it is opened with a dataset.
"""

from collections.abc import Iterable
import pathlib
import re
import types
import typing
from typing import Any

from array_record.python import array_record_data_source
import numpy as np

from visor_jax.data.sources import fingerprints
from visor_jax.data.sources import image_paths
from visor_jax.data.sources import llava
from visor_jax.data.sources import records

if typing.TYPE_CHECKING:
  import tensorflow_datasets as tfds_types

FORMAT = 'array_record'

# Beside the turns.
_FIELDS = tuple(name for name in llava.FIELDS if name not in llava.TURNS)

_PATH = re.compile(
  r'tfds:(?P<what>[/~].*?|'
  r'[a-zA-Z]\w*(/[\w+.-]+)?(:(\d+|\*)(\.(\d+|\*)){2})?)'
  r'(@(?P<split>[^/@]+))?'
)


def library() -> types.ModuleType:
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

  Attributes:
    name: the dataset's, with /CONFIG if there is one.
    fingerprint: changes when the data does.

  Args:
    path: 'tfds:...', see above.
    data_dir: folder in which names are searched for instead.

  Raises:
    ValueError: the path is none, tfds is not installed, or the dataset is not
      there, not complete, not in ArrayRecord files, or not of conversations.
  """

  def __init__(self, path: str, data_dir: pathlib.Path | str | None = None):
    match = _PATH.fullmatch(path)
    if not match:
      raise ValueError(
        f'{path}: expected tfds:NAME[/CONFIG][:VERSION][@SPLIT] '
        'or tfds:/FOLDER/OF/A/VERSION[@SPLIT]'
      )
    tfds = library()
    builder = _builder(tfds, path, match['what'], data_dir)
    info, split = builder.info, match['split'] or 'train'
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
    self.fingerprint = fingerprints.digest(
      self.name,
      str(info.version),
      [(pathlib.Path(f.filename).name, f.skip, f.take) for f in files],
      *_traces(path, files),
    )

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> records.Record:
    data, name = self._records[index], f'{self.name}/{index}'
    try:
      fields = _fields(self._parser.parse_example(data))
    except UnicodeDecodeError as e:
      raise records.BadRecord('bad text', str(e), name) from None
    except Exception as e:  # the file was read, so it is not the disk
      raise records.BadRecord('bad bytes', str(e), name) from None
    return llava.parse(fields, name, image_paths.Folder(), self.name)

  def outline(self, index: int) -> records.Record:
    """The record itself: sizes are known by the images alone."""
    return self[index]


def _builder(
  tfds: types.ModuleType,
  path: str,
  what: str,
  data_dir: pathlib.Path | str | None,
) -> 'tfds_types.core.DatasetBuilder':
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


def _check_split(
  tfds: types.ModuleType,
  path: str,
  info: 'tfds_types.core.DatasetInfo',
  split: str,
) -> None:
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


def _parser(path: str, features: 'tfds_types.features.FeaturesDict') -> Any:
  """Takes an example's bytes apart, those fields that records have."""
  from tensorflow_datasets.core import example_parser

  every = features.get_serialized_info()
  specs = {name: every[name] for name in _FIELDS if name in every}
  if 'conversations' not in every:
    raise ValueError(
      f'{path}: no feature conversations, only {", ".join(sorted(every))}'
    )
  conversations = every['conversations']
  if not isinstance(conversations, dict) or not all(
    _is_bytes(conversations.get(name), (1,)) for name in ('from', 'value')
  ):
    raise ValueError(
      f'{path}: conversations are {features["conversations"]}; '
      'expected a Sequence of {from, value}, both Text'
    )
  specs['conversations'] = {
    name: conversations[name] for name in ('from', 'value')
  }
  for name in ('image', 'images'):
    if name in specs and not _is_bytes(specs[name], (0, 1)):
      raise ValueError(
        f'{path}: {name} is {features[name]}; expected an Image '
        'or a Sequence of them'
      )
  for name in ('id', 'system'):
    if name in specs and getattr(specs[name], 'shape', None) != ():
      raise ValueError(f'{path}: {name} is {features[name]}; expected one Text')
  for name in llava.OTHER_MODALITIES:
    if name in specs and not _is_bytes(specs[name], (0, 1)):
      raise ValueError(
        f'{path}: records have {name}; expected conversations about images'
      )
  return example_parser.ExampleParserNp(specs)


def _is_bytes(spec: Any, ranks: tuple[int, ...]) -> bool:
  """A field is stored as byte strings, of one of these ranks."""
  return (
    hasattr(spec, 'np_dtype')
    and np.dtype(spec.np_dtype) == object
    and len(spec.shape) in ranks
  )


def _traces(
  path: str,
  files: 'Iterable[tfds_types.core.utils.shard_utils.FileInstruction]',
) -> list[tuple[str, int, str]]:
  """`fingerprints.traces` of files that have the records that tfds says."""
  lengths = {pathlib.Path(f.filename): f.examples_in_shard for f in files}
  try:
    traces = fingerprints.traces(lengths)
    count = len(array_record_data_source.ArrayRecordDataSource(list(lengths)))
  except FileNotFoundError as e:
    raise ValueError(
      f'{path}: {e.filename} is missing; prepare it again'
    ) from None
  except RuntimeError as e:
    raise ValueError(f'{path}: not ArrayRecord files: {e}') from None
  expected = sum(lengths.values())
  if count != expected:
    raise ValueError(
      f'{path}: has {count} records, but by its '
      f'dataset_info.json {expected}; prepare it again'
    )
  return traces


def _fields(parsed: dict[str, Any]) -> dict[str, Any]:
  """What `llava.parse` takes, of what the parser gives."""
  conversations = parsed['conversations']
  fields: dict[str, Any] = dict(
    conversations=[
      {'from': speaker.decode(), 'value': value.decode()}
      for speaker, value in zip(
        conversations['from'], conversations['value'], strict=True
      )
    ]
  )
  # What is not in a Sequence cannot be left out: who has none writes b''.
  for name in _FIELDS:
    value = parsed.get(name)
    if isinstance(value, np.ndarray):
      fields[name] = value.tolist()
    elif value not in (None, b''):
      fields[name] = value
  for name in ('id', 'system'):
    if isinstance(fields.get(name), bytes):
      fields[name] = fields[name].decode()
  return fields
