"""Files against the package that defines them, and files that are broken."""

import json
import pathlib
import weakref

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from visor_jax.convert import safetensors as ours

ARRAYS = {
  'half': np.arange(6, dtype=np.float16).reshape(2, 3),
  'brain': np.array([[1.5, -3e38, np.nan]], ml_dtypes.bfloat16),
  'single': np.float32([[[1, 2], [3, 4]]]),
  'index': np.int64([-1, 2**40]),
  'yes': np.array([True, False, True]),
  'number': np.array(7, np.float32),
  'none': np.zeros((0, 4), np.float32),
  'eight': np.array([1, -2], ml_dtypes.float8_e4m3fn),
}


def lazy(arrays):
  return {
    name: ours.Tensor(a.shape, a.dtype, lambda a=a: a)
    for name, a in arrays.items()
  }


def check(tensors, arrays):
  assert tensors.keys() == arrays.keys()
  for name, a in arrays.items():
    read = tensors[name].read()
    assert (
      (read.shape, read.dtype)
      == (a.shape, a.dtype)
      == (tensors[name].shape, tensors[name].dtype)
    )
    assert read.tobytes() == a.tobytes()


def test_reads_what_the_package_writes(tmp_path):
  tensors = {
    name: torch.from_numpy(a.view(np.uint8).reshape(-1).copy())
    .view({'brain': torch.bfloat16, 'eight': torch.float8_e4m3fn}[name])
    .reshape(a.shape)
    if name in ('brain', 'eight')
    else torch.from_numpy(a)
    for name, a in ARRAYS.items()
  }
  safetensors.torch.save_file(tensors, tmp_path / 'x', {'any': 'words'})
  check(ours.file(tmp_path / 'x'), ARRAYS)


def test_the_package_reads_what_is_written(tmp_path):
  ours.write(tmp_path / 'x', lazy(ARRAYS))
  check(ours.file(tmp_path / 'x'), ARRAYS)
  with safetensors.safe_open(tmp_path / 'x', 'pt') as f:
    assert f.metadata() == {'format': 'pt'}  # transformers asks for it
    assert set(f.keys()) == set(ARRAYS)
    for name, a in ARRAYS.items():
      t = f.get_tensor(name)
      assert tuple(t.shape) == a.shape
      assert t.contiguous().view(-1).view(torch.uint8).numpy().tobytes() == (
        a.tobytes()
      )


def test_tensors_start_at_multiples_of_their_width(tmp_path):
  """An odd number of bytes before a float would make readers copy."""
  ours.write(
    tmp_path / 'x',
    lazy({'odd': np.array([True]), 'f': np.float32([1]), 'd': np.float64([2])}),
  )
  text = (tmp_path / 'x').read_bytes()
  length = int.from_bytes(text[:8], 'little')
  header = json.loads(text[8 : 8 + length])
  assert length % 8 == 0
  assert [header[n]['data_offsets'][0] for n in ('d', 'f', 'odd')] == [0, 8, 12]


def test_shards_are_as_large_as_they_may_be(tmp_path):
  """Three of 40 bytes and one of 400 in shards of 100."""
  arrays = {n: np.full(10, i, np.float32) for i, n in enumerate('abc')}
  arrays['large'] = np.ones(100, np.float32)
  ours.write_folder(tmp_path, lazy(arrays), shard=100)
  names = [f'model-0000{i}-of-00003.safetensors' for i in (1, 2, 3)]
  index = json.loads((tmp_path / ours.INDEX).read_text())
  assert index['weight_map'] == dict(
    a=names[0], b=names[0], c=names[1], large=names[2]
  )
  assert index['metadata']['total_size'] == 520
  assert sorted(p.name for p in tmp_path.iterdir()) == [*names, ours.INDEX]
  check(ours.folder(tmp_path), arrays)


def test_few_tensors_are_one_file(tmp_path):
  ours.write_folder(tmp_path, lazy(ARRAYS))
  assert [p.name for p in tmp_path.iterdir()] == [ours.SINGLE]
  check(ours.folder(tmp_path), ARRAYS)


def test_one_tensor_at_a_time(tmp_path):
  """Neither reading nor writing holds a second one, or maps the file."""
  living, most = set(), 0

  def read(i):
    nonlocal most
    array = np.full(1000, i, np.float32)
    living.add(i)
    weakref.finalize(array, living.discard, i)
    most = max(most, len(living))
    return array

  ours.write(
    tmp_path / 'x',
    {
      str(i): ours.Tensor((1000,), np.dtype(np.float32), lambda i=i: read(i))
      for i in range(9)
    },
  )
  assert most <= 2  # the last one lives until the next is there
  tensors = ours.file(tmp_path / 'x')
  one = tensors['4'].read()
  assert one.tobytes() == np.full(1000, 4, np.float32).tobytes()
  assert str(tmp_path / 'x') not in pathlib.Path('/proc/self/maps').read_text()


@pytest.mark.parametrize('left', [-5, 30, 3])
def test_a_file_that_is_cut_off_says_how_much_is_missing(tmp_path, left):
  """In the tensors, in the header, and in its length."""
  ours.write(tmp_path / 'x', lazy(ARRAYS))
  text = (tmp_path / 'x').read_bytes()
  (tmp_path / 'cut').write_bytes(text[:left])
  header = 8 + int.from_bytes(text[:8], 'little')
  complete = len(text) if left < 0 else header if left > 8 else None
  missing = complete - len(text[:left]) if complete else r'\d+'
  with pytest.raises(ValueError, match=rf'cut is cut off: {missing} of '):
    ours.file(tmp_path / 'cut')


def test_a_pointer_of_git_lfs_is_no_file(tmp_path):
  (tmp_path / 'x').write_text('version https://git-lfs.github.com/spec/v1\n')
  with pytest.raises(ValueError, match='git lfs pull'):
    ours.file(tmp_path / 'x')


@pytest.mark.parametrize(
  'header,why',
  [
    ({'a': dict(dtype='F32', shape=[2], data_offsets=[0, 4])}, 'bytes 0 to 8'),
    (
      {
        'a': dict(dtype='F32', shape=[1], data_offsets=[0, 4]),
        'b': dict(dtype='F32', shape=[1], data_offsets=[0, 4]),
      },
      'bytes 4 to 8',
    ),
    (
      {'a': dict(dtype='F4', shape=[2], data_offsets=[0, 1])},
      "dtype is 'F4'; expected one of",
    ),
    ({'a': dict(dtype='F32', shape=[2])}, 'a: data_offsets is missing'),
    (
      {'a': dict(dtype='F32', shape=[1.0], data_offsets=[0, 4])},
      'shape is .1.0.; expected integers',
    ),
    (
      {'a': dict(dtype='F32', shape=[40_000_000_000], data_offsets=[0, 4])},
      'bytes 0 to 160000000000',
    ),
    (
      {'a': dict(dtype='F32', shape=[1] * 9, data_offsets=[0, 4])},
      'expected at most 8 axes',
    ),
    ({'a': dict(dtype='F32', shape=[1], data_offsets=[4])}, 'not enough'),
    ({'a': [1]}, 'a is no object'),
    ([1, 2], 'broken header'),
  ],
)
def test_a_broken_header_is_not_believed(tmp_path, header, why):
  text = json.dumps(header).encode()
  (tmp_path / 'x').write_bytes(
    len(text).to_bytes(8, 'little') + text + bytes(64)
  )
  with pytest.raises(ValueError, match=why) as e:
    ours.file(tmp_path / 'x')
  assert str(tmp_path / 'x') in str(e.value)


def test_a_folder_that_lacks_something(tmp_path):
  with pytest.raises(ValueError, match='neither model.safetensors nor'):
    ours.folder(tmp_path)
  ours.write_folder(
    tmp_path, lazy(dict(a=ARRAYS['half'], b=ARRAYS['brain'])), 1
  )
  index = json.loads((tmp_path / ours.INDEX).read_text())
  broken = dict(
    index, weight_map=index['weight_map'] | dict(c=index['weight_map']['a'])
  )
  (tmp_path / ours.INDEX).write_text(json.dumps(broken))
  with pytest.raises(ValueError, match=r"no shard has: \['c'\]"):
    ours.folder(tmp_path)
  for shard, why in (('../x', 'is no file of the folder'), (3, 'a string')):
    wrong = dict(index, weight_map=dict(a=shard))
    (tmp_path / ours.INDEX).write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match=why):
      ours.folder(tmp_path)
  (tmp_path / ours.INDEX).write_text(json.dumps(index))
  (tmp_path / index['weight_map']['b']).unlink()
  with pytest.raises(ValueError, match='00002-of-00002.safetensors is missing'):
    ours.folder(tmp_path)


@pytest.mark.parametrize('array', [np.zeros(4), np.zeros(3, np.float32)])
def test_what_is_not_as_announced_is_not_written(tmp_path, array):
  tensors = lazy(dict(a=np.zeros(4, np.float32)))
  tensors['b'] = ours.Tensor((4,), np.dtype(np.float32), lambda: array)
  with pytest.raises(ValueError, match='b is .* announced as float32'):
    ours.write(tmp_path / 'x', tensors)
  assert not (tmp_path / 'x').exists()
