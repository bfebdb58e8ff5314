"""Reading and writing safetensors, one tensor at a time.

A file is eight bytes that give the length of a JSON header (little endian),
the header {name: {dtype, shape, data_offsets}}, and the bytes of the tensors.
The `safetensors` package saves only what is in memory all at once, and of a
file that is cut off it says neither which nor by how much.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import json
import math
import os
import pathlib
import sys
from typing import Any

import ml_dtypes
import numpy as np

from visor_jax.runtime import json_fields
from visor_jax.runtime import regular_files

DTYPES: dict[str, Any] = {
  'BOOL': np.bool_,
  'U8': np.uint8,
  'I8': np.int8,
  'U16': np.uint16,
  'I16': np.int16,
  'U32': np.uint32,
  'I32': np.int32,
  'U64': np.uint64,
  'I64': np.int64,
  'F16': np.float16,
  'F32': np.float32,
  'F64': np.float64,
  'BF16': ml_dtypes.bfloat16,
  'F8_E4M3': ml_dtypes.float8_e4m3fn,
  'F8_E5M2': ml_dtypes.float8_e5m2,
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}

SINGLE = 'model.safetensors'
INDEX = 'model.safetensors.index.json'
SHARD = 5 * 10**9  # bytes
HEADER = 10**7  # bytes, of 50,000 tensors; a longer one is not believed
AXES = 8  # of a tensor, at most


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor that is not in memory yet.

  Attributes:
    shape: of the array.
    dtype: of the array.
    read: gives the array.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]

  @property
  def nbytes(self) -> int:
    """Bytes of the array."""
    return math.prod(self.shape) * self.dtype.itemsize


def folder(path: pathlib.Path | str) -> dict[str, Tensor]:
  """The tensors of a checkpoint: one file, or shards with an index.

  Raises:
    ValueError: there is none, a file is not whole, or the index names what is
      not there.
  """
  path = pathlib.Path(path)
  if (path / SINGLE).exists():
    return file(path / SINGLE)
  if not (path / INDEX).exists():
    raise ValueError(
      f'{path} has neither {SINGLE} nor {INDEX}; weights in another format '
      '(pytorch_model.bin) must be saved as safetensors first'
    )
  index = json_fields.read(path / INDEX).fields('weight_map')
  shard_of = {name: index.text(name) for name in index.values}
  tensors: dict[str, Tensor] = {}
  for shard in sorted(set(shard_of.values())):
    if pathlib.PurePath(shard).name != shard:
      raise ValueError(f'{path / INDEX}: {shard!r} is no file of the folder')
    tensors |= file(path / shard)
  missing = sorted(shard_of.keys() - tensors.keys())[:20]
  if missing:
    raise ValueError(
      f'{path / INDEX} names tensors that no shard has: {missing}'
    )
  return tensors


def file(path: pathlib.Path | str) -> dict[str, Tensor]:
  """The tensors of one file, in order of their bytes.

  Raises:
    ValueError: the file is missing, not whole, or no safetensors file.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise ValueError(f'{path} is missing; download the checkpoint again')
  size = path.stat().st_size
  with regular_files.open_regular(path) as f:
    length = int.from_bytes(f.read(8), 'little')
    if length > HEADER:
      raise ValueError(
        f'{path} is no safetensors file; if it is a few lines of text that '
        'stand for one, fetch the file itself with git lfs pull'
      )
    _require_bytes(path, size, 8 + length)
    text = f.read(length)
  try:
    tensors, end = _parse(path, text)
  except (ValueError, RecursionError) as e:
    raise ValueError(f'{path} has a broken header: {str(e)[:300]}') from e
  _require_bytes(path, size, 8 + length + end)
  return tensors


def _parse(path: pathlib.Path, text: bytes) -> tuple[dict[str, Tensor], int]:
  """The tensors of a header, and the bytes that they take behind it."""
  tensors: dict[str, Tensor] = {}
  end = 0
  header = json.loads(text)
  if not isinstance(header, dict):
    raise ValueError('it is no object')
  header.pop('__metadata__', None)
  for name, entry in sorted(header.items(), key=_offsets):
    start, stop = _offsets((name, entry))
    tensor = _tensor(path, 8 + len(text) + start, entry)
    if (start, stop) != (end, end + tensor.nbytes):
      raise ValueError(
        f'{name}, {entry["dtype"]} {entry["shape"]}, should have bytes '
        f'{end} to {end + tensor.nbytes}, not {start} to {stop}'
      )
    tensors[name], end = tensor, stop
  return tensors, end


def _offsets(named_entry: tuple[str, Any]) -> list[int]:
  """Where the bytes of an entry of the header begin and end."""
  name, entry = named_entry
  if not isinstance(entry, dict):
    raise ValueError(f'{name} is no object')
  return json_fields.Fields(entry, f'{name}: ').integers(
    'data_offsets', most=sys.maxsize
  )


def _require_bytes(path: pathlib.Path, size: int, expected: int) -> None:
  if size < expected:
    raise ValueError(
      f'{path} is cut off: {expected - size} of {expected} '
      'bytes are missing; download it again'
    )


def _tensor(path: pathlib.Path, start: int, entry: dict[str, Any]) -> Tensor:
  """The tensor of an entry of the header, whose bytes begin at `start`."""
  fields = json_fields.Fields(entry, '')
  shape = tuple(fields.integers('shape', most=sys.maxsize))
  if len(shape) > AXES:
    raise fields.error('shape', f'at most {AXES} axes')
  if fields.text('dtype') not in DTYPES:
    raise fields.error('dtype', f'one of {sorted(DTYPES)}')
  dtype = np.dtype(DTYPES[fields.text('dtype')])

  def read() -> np.ndarray:
    array = np.fromfile(path, dtype, math.prod(shape), offset=start)
    return array.reshape(shape)

  return Tensor(shape, dtype, read)


def write(path: pathlib.Path | str, tensors: Mapping[str, Tensor]) -> None:
  """Writes one file; it is seen in full or not at all.

  Args:
    path: of the file.
    tensors: read one after the other, when their turn comes.
  """
  path = pathlib.Path(path)
  # Wide numbers first: every tensor then starts at a multiple of its width.
  tensors = dict(
    sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
  )
  text = _header(tensors)
  part = path.with_name(path.name + '.part')
  with open(part, 'wb') as f:
    f.write(len(text).to_bytes(8, 'little') + text)
    for name, tensor in tensors.items():
      array = np.asarray(tensor.read(), order='C')
      if (array.shape, array.dtype) != (tensor.shape, tensor.dtype):
        raise ValueError(
          f'{name} is {array.dtype}{list(array.shape)}, '
          f'announced as {tensor.dtype}{list(tensor.shape)}'
        )
      f.write(array.reshape(-1).view(np.uint8).data)
    f.flush()
    os.fsync(f.fileno())
  os.replace(part, path)


def _header(tensors: Mapping[str, Tensor]) -> bytes:
  """The JSON of a file, its length a multiple of 8."""
  entries: dict[str, dict[str, Any]] = {'__metadata__': {'format': 'pt'}}
  end = 0
  for name, tensor in tensors.items():
    entries[name] = dict(
      dtype=NAMES[tensor.dtype],
      shape=list(tensor.shape),
      data_offsets=[end, end + tensor.nbytes],
    )
    end += tensor.nbytes
  text = json.dumps(entries, separators=(',', ':')).encode()
  return text + b' ' * (-len(text) % 8)


def write_folder(
  path: pathlib.Path | str,
  tensors: Mapping[str, Tensor],
  shard: int = SHARD,
  alone: bool = True,
) -> None:
  """Writes a checkpoint: one file, or shards of at most `shard` bytes.

  Args:
    path: the folder, which exists.
    tensors: in order; read one after the other.
    shard: bytes; a larger tensor has a shard of its own.
    alone: whether no other safetensors lie in the folder. Else one file has an
      index too, without which some programs read them all.
  """
  path = pathlib.Path(path)
  shards = _shards(tensors, shard)
  if len(shards) == 1 and alone:
    write(path / SINGLE, tensors)
    return
  shard_of: dict[str, str] = {}
  for number, part in enumerate(shards, start=1):
    name = f'model-{number:05d}-of-{len(shards):05d}.safetensors'
    name = name if len(shards) > 1 else SINGLE
    write(path / name, part)
    shard_of |= dict.fromkeys(part, name)
  total = sum(tensor.nbytes for tensor in tensors.values())
  index = {'metadata': {'total_size': total}, 'weight_map': shard_of}
  (path / INDEX).write_text(json.dumps(index, indent=2))


def _shards(
  tensors: Mapping[str, Tensor], most: int
) -> list[dict[str, Tensor]]:
  """Tensors in their order, at most so many bytes together if it can be."""
  shards: list[dict[str, Tensor]] = [{}]
  size = 0
  for name, tensor in tensors.items():
    if shards[-1] and size + tensor.nbytes > most:
      shards.append({})
      size = 0
    shards[-1][name] = tensor
    size += tensor.nbytes
  return shards
