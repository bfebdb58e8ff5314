"""Benchmarks as the hub serves them, a few questions of each."""

import io
import pathlib

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet

# Where the hub has them, below a folder for each.
FILES = {
  'docvqa': 'DocVQA/validation-00000-of-00001.parquet',
  'gqa': 'testdev_balanced_instructions/testdev-00000-of-00001.parquet',
  'mmstar': 'mmstar.parquet',
  'mme': 'data/test-{}-of-00002.parquet',
  'mmbench': 'en/dev-00000-of-00001.parquet',
  'seedbench': 'data/test-00000-of-00001.parquet',
  'mmmu': 'data/validation-00000-of-00001.parquet',
}


def image(number, height=40, width=52):
  """{bytes, path} of a PNG."""
  file, rng = io.BytesIO(), np.random.default_rng(number)
  pixels = rng.integers(0, 255, (height + number, width, 3), np.uint8)
  PIL.Image.fromarray(pixels).save(file, 'PNG')
  return dict(bytes=file.getvalue(), path=f'{number}.png')


def table(path, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  pyarrow.parquet.write_table(
    pa.Table.from_pylist(rows), path, row_group_size=3
  )


def write(folder, name, asked):
  """A benchmark's files, and part that are not to be read.

  Args:
    folder: with one for each benchmark.
    name: of the benchmark.
    asked: fields of its questions, without images.
  """
  folder = pathlib.Path(folder) / name
  rows = []
  for number, fields in enumerate(asked):
    rows.append(
      fields
      | dict(extra=number)
      | (
        {'image': [image(number), image(number + 1)][: 1 + number % 2]}
        if name == 'seedbench'
        else {
          f'image_{i}': image(number + i) if i < 3 else None
          for i in range(1, 8)
        }
        if name == 'mmmu'
        else {'imageId': f'n{number % 2}'}
        if name == 'gqa'
        else {'image': image(number)['bytes']}
        if name == 'mmstar'
        else {'image': image(number)}
      )
    )
  file = FILES[name]
  if '{}' in file:  # in two files
    half = len(rows) // 2
    for n, part in enumerate((rows[:half], rows[half:])):
      table(folder / file.format(f'{n:05d}'), part)
  else:
    table(folder / file, rows)
  if name == 'gqa':
    table(
      folder / 'testdev_balanced_images/testdev-00000-of-00001.parquet',
      [dict(id=f'n{i}', image=image(i)) for i in range(2)],
    )
  if name == 'docvqa':
    wrong = [dict(question='?', answers=['no'], image=image(9))]
    table(folder / 'DocVQA/test-00000-of-00001.parquet', wrong)
    table(folder / 'InfographicVQA/validation-00000-of-00001.parquet', wrong)
