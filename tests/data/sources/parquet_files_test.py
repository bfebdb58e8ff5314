"""Conversations in parquet files, as the hub serves them."""

import os

import pytest

from tests.data.sources import files
from visor_jax.data.sources import readers
from visor_jax.data.sources import records


@pytest.fixture
def folder(tmp_path):
  return files.images(tmp_path)


@pytest.mark.parametrize(
  'rows',
  [
    [
      dict(r, image=files.hub(r)['image'][0])
      for r in files.FIELDS
      if r['id'] in 'r1r4'
    ],
    [
      dict(r, image=files.hub(r)['image'][0]['bytes'])
      for r in files.FIELDS
      if r['id'] in 'r1r4'
    ],
    [r for r in files.FIELDS if r['id'] in 'r1r4'],
    [
      dict(
        id=r['id'],
        images=files.hub(r)['image'],
        source='other',
        conversations=r['conversations'],
      )
      for r in files.FIELDS
      if r['id'] in 'r1r4'
    ],
  ],
)
def test_parquet_images_are_structs_bytes_or_paths(folder, rows):
  path = files.write_parquet(folder / 'x.parquet', rows)
  source = readers.open_source(path, folder / 'images')
  assert [r.images for r in files.read(source)] == [
    (files.jpeg(1),),
    (files.jpeg(4),),
  ]


def test_bad_records_say_their_own_id(folder):
  os.remove(folder / 'images' / '2.jpg')
  for path in (
    files.write_json(folder / 'x.json'),
    files.write_parquet(
      folder / 'x.parquet',
      [
        dict(
          r,
          image=[
            dict(bytes=None, path=n['path']) for n in files.hub(r)['image']
          ],
        )
        for r in files.FIELDS
      ],
    ),
  ):
    with pytest.raises(records.BadRecord, match='r2: missing image: .*/2.jpg'):
      readers.open_source(path, folder / 'images')[2]
    assert readers.open_source(path, folder / 'images')[3].id == 'r3'
  data = files.write_parquet(folder / 'y.parquet', files.FIELDS)
  data.write_bytes(data.read_bytes().replace(b'r2', b'\xffr'))
  with pytest.raises(records.BadRecord, match='y/2: bad text'):
    readers.open_source(data, folder / 'images')[2]


def test_splits_are_not_mixed(folder):
  """Test questions would be trained on."""
  for name in (
    'train-00000-of-00002',
    'train-00001-of-00002',
    'test-00000-of-00001',
  ):
    files.write_parquet(folder / f'{name}.parquet', files.FIELDS[:3])
  with pytest.raises(ValueError, match='holds test, train; say which'):
    readers.open_source(folder)
  assert len(readers.open_source(folder / 'train-*.parquet')) == 6


def test_messages_are_read_from_parquet(folder):
  rows = [
    dict(
      id=f'r{i}',
      system='Be brief.' if i else None,
      messages=[
        dict(role='user', content='a'),
        dict(role='assistant', content='b'),
      ],
    )
    for i in range(2)
  ]
  path = files.write_parquet(folder / 'x.parquet', rows)
  source = readers.open_source(path)
  assert [r.turns[0].system for r in files.read(source)] == ['', 'Be brief.']
  assert files.ids(source) == [0, 1]


def test_a_video_in_parquet_is_no_conversation_about_nothing(folder):
  rows = [dict(files.FIELDS[0], video='a.mp4'), dict(files.FIELDS[0])]
  path = files.write_parquet(folder / 'x.parquet', rows)
  source = readers.open_source(path)
  with pytest.raises(records.BadRecord, match="other modality: video 'a.mp4'"):
    source[0]
  assert source[1].id == 'r0'


def test_pages_that_are_broken_are_named(folder):
  path = files.write_parquet(folder / 'x.parquet', files.FIELDS)
  data = bytearray(path.read_bytes())
  data[4:200] = bytes(196)
  path.write_bytes(data)
  with pytest.raises((ValueError, OSError), match='row group 0: '):
    readers.open_source(path)[0]
