"""The contract of records, held against what Pillow makes of the same files."""

import dataclasses
import io
import pickle

import numpy as np
import PIL.Image
import pytest

from visor_jax.data.sources import encoding
from visor_jax.data.sources import image_files
from visor_jax.data.sources import llava
from visor_jax.data.sources import records

SIDES = (48, 33)  # width, height


def picture(mode='RGB'):
  """Noise, which has pixels up to the end of every file."""
  noise = np.random.default_rng(0).integers(0, 256, (*SIDES[::-1], 3), np.uint8)
  return PIL.Image.fromarray(noise).convert(mode)


def file(kind, mode='RGB', orientation=None, **options):
  out = io.BytesIO()
  if orientation:
    exif = PIL.Image.Exif()
    exif[274] = orientation
    options['exif'] = exif
  picture(mode).save(out, kind, **options)
  return out.getvalue()


JPEG, PNG = file('JPEG'), file('PNG')
FIELDS = dict(
  id='a',
  image='a.jpg',
  conversations=[
    {'from': 'human', 'value': '<image>\nWhy?'},
    {'from': 'gpt', 'value': 'So.'},
  ],
)


def raw(*turns, count=1):
  return records.Record(
    'a',
    (JPEG,) * count,
    (SIDES[::-1],) * count,
    tuple(records.Turn(q, a, '') for q, a in turns),
  )


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'a.jpg').write_bytes(JPEG)
  (tmp_path / 'cut.jpg').write_bytes(JPEG[:-100])
  (tmp_path / 'text.jpg').write_bytes(b'not an image')
  (tmp_path / 'empty.jpg').write_bytes(b'')
  (tmp_path / 'folder.jpg').mkdir()
  return tmp_path


def reason(act, *args):
  """Of the BadRecord that a call ends with; None if it does not."""
  try:
    act(*args)
  except records.BadRecord as e:
    assert e.reason in records.REASONS
    return e.reason


@pytest.mark.parametrize(
  'record',
  [
    raw(('<image> \u4f60\u597d?', '\U0001f600 "so"\n')),
    raw(('One?', '1'), ('Two?', '2'), count=0),
    records.Record(
      'b/\u00e9',
      (PNG, b'', JPEG),
      ((1, 2), (3, 4), (5, 6)),
      (records.Turn('q', 'a', 'charts'),),
    ),
  ],
)
def test_a_record_comes_back_as_it_was(record):
  data = encoding.encode(record)
  assert encoding.decode(data) == record
  assert encoding.encode(dataclasses.replace(record)) == data


def test_the_format_stays():
  """Shards on disk outlive this code: a change needs another magic."""
  turns = (records.Turn('q\u00e9', 'a', 'f'),)
  data = encoding.encode(
    records.Record('i', (b'xyz', b'w'), ((1, 2), (3, 4)), turns)
  )
  header = '{"id":"i","images":[[1,2,3],[3,4,1]],"turns":[["q\u00e9","a","f"]]}'
  assert data == b'VJR1\x3f\0\0\0' + header.encode() + b'xyzw'


def test_every_cut_of_a_record_is_seen():
  data = encoding.encode(
    records.Record('i', (b'xyz',), ((1, 2),), (records.Turn('q', 'a', 'f'),))
  )
  for stop in range(len(data)):
    assert reason(encoding.decode, data[:stop]) == 'bad bytes', stop
  assert reason(encoding.decode, data + b'!') == 'bad bytes'
  assert reason(encoding.decode, b'VJR9' + data[4:]) == 'bad bytes'


def test_an_outline_is_all_but_the_images():
  record = records.Record(
    'i\u00e9',
    (b'xyz', b'w'),
    ((1, 2), (3, 4)),
    (records.Turn('q', '\u4f60', 'f'),),
  )
  data = encoding.encode(record)
  cut = encoding.outline(data)
  assert data == cut + b'xyzw'
  assert encoding.decode(cut, outlined=True) == dataclasses.replace(
    record, images=()
  )
  # Neither passes for the other: pixels would be missing, or read in vain.
  assert reason(encoding.decode, cut) == 'bad bytes'
  assert reason(encoding.decode, data, True) == 'bad bytes'
  for stop in range(len(cut)):
    assert reason(encoding.decode, cut[:stop], True) == 'bad bytes', stop


@pytest.mark.parametrize(
  'data',
  [
    JPEG,
    PNG,
    file('JPEG', progressive=True),
    file('JPEG', 'L'),
    file('JPEG', 'CMYK'),
    file('PNG', 'P'),
    file('PNG', 'RGBA'),
    file('GIF'),
    file('BMP'),
    file('TIFF'),
    file('WEBP'),
    *(
      file(kind, orientation=o)
      for o in range(1, 9)
      for kind in ('JPEG', 'PNG', 'WEBP', 'TIFF')
    ),
  ],
)
def test_sizes_are_those_of_the_opened_image(data):
  opened = image_files.open_image(data)
  assert image_files.size(data) == (opened.height, opened.width)


def test_a_png_that_is_turned_after_its_pixels_lies_on_its_side():
  """Pillow finds a turn there only when it decodes."""
  data = file('PNG', orientation=6)
  at, end = data.index(b'eXIf') - 4, data.index(b'IDAT') - 4
  late = data[:at] + data[end:-12] + data[at:end] + data[-12:]
  opened = image_files.open_image(late)
  assert (opened.height, opened.width) == SIDES == image_files.size(late)


@pytest.mark.parametrize(
  'data',
  [JPEG, PNG, file('JPEG', progressive=True), file('JPEG', orientation=6)],
)
def test_no_pixel_of_a_whole_jpeg_or_png_is_decoded(data, monkeypatch):
  """Decoding would take 50 times as long."""
  monkeypatch.setattr(PIL.Image.Image, 'load', None)
  monkeypatch.setattr('PIL.ImageFile.ImageFile.load', None)
  assert sorted(image_files.size(data)) == sorted(SIDES)


@pytest.mark.parametrize(
  'data',
  [
    JPEG,
    PNG,
    file('JPEG', progressive=True),
    file('GIF'),
    file('BMP'),
    file('WEBP'),
    file('TIFF'),
  ],
)
@pytest.mark.parametrize('fill', [b'', b'\0'])
@pytest.mark.filterwarnings('ignore:Truncated')
def test_a_cut_file_is_broken_where_pillow_says_so(data, fill):
  """And only there: some files lack nothing but their last bytes."""
  found = set()
  for stop in [*range(0, len(data), 97), *range(len(data) - 15, len(data))]:
    cut = data[:stop] + fill * (len(data) - stop)  # or a disk's empty block
    try:
      image_files.open_image(cut)
      opens = True
    except ValueError:
      opens = False
    found.add(opens)
    assert (reason(image_files.size, cut) == 'broken image') != opens, stop
  assert False in found


@pytest.mark.parametrize(
  'data', [b'', b'not an image', b'\xff\xd8\xff\xd9', b'\xff\xd8\xff', JPEG[1:]]
)
def test_what_is_no_image_is_broken(data):
  assert reason(image_files.size, data) == 'broken image'


def test_the_end_of_a_thumbnail_is_not_that_of_the_image():
  """Cameras put a whole JPEG into the header."""
  small = b'\xff\xe1' + (len(JPEG) + 2).to_bytes(2, 'big') + JPEG
  data = JPEG[:2] + small + JPEG[2:]
  assert image_files.size(data) == SIDES[::-1]
  assert reason(image_files.size, data[:-100]) == 'broken image'


@pytest.mark.parametrize(
  'record,why',
  [
    (raw(), 'no turns'),
    (raw((' \n', 'So.')), 'empty question'),
    (raw(('<image>\n', 'So.')), 'empty question'),
    (raw(('Why?', ' \n')), 'empty answer'),
    (raw(('Why?', 'So.'), ('Why?', '')), 'empty answer'),
    (raw(('<image> <image> Why?', 'So.')), 'marker count'),
    (raw(('<image> Why?', 'So.'), count=2), 'marker count'),
    (raw(('<image> Why?', 'So.'), count=0), 'marker count'),
    (raw(('<image> Why?', '<image>')), 'marker count'),
    (raw(('Why?', '\ud83d')), 'bad text'),
    (raw(('Why?', 'So.')), None),
    (raw(('Why?', 'So.'), count=2), None),
    (raw(('<image> Why?', 'So.'), ('<image>?', 'So.'), count=2), None),
  ],
)
def test_conversations_are_checked(record, why):
  assert reason(records.check, record) == why
  outline = dataclasses.replace(record, images=())
  assert reason(records.check, outline) == why, 'rows are planned from these'


@pytest.mark.parametrize(
  'change,why',
  [
    ({}, None),
    (dict(image=['a.jpg']), None),
    (dict(image=dict(bytes=JPEG, path=None)), None),
    (dict(image=None, images=[dict(bytes=None, path='a.jpg')]), None),
    (dict(image=JPEG), None),
    (dict(image='b.jpg'), 'missing image'),
    (dict(image='folder.jpg'), 'missing image'),
    (dict(image='a.jpg/b.jpg'), 'missing image'),
    (dict(image='x' * 300), 'missing image'),
    (dict(image='a\0.jpg'), 'missing image'),
    (dict(image=[None]), 'missing image'),
    (dict(image=3), 'missing image'),
    (dict(image=''), 'missing image'),
    (dict(image=dict(bytes=None, path=None)), 'missing image'),
    (dict(image='cut.jpg'), 'broken image'),
    (dict(image='text.jpg'), 'broken image'),
    (dict(image='empty.jpg'), 'broken image'),
    (dict(image=['a.jpg', 'a.jpg']), 'marker count'),
    (dict(image=None), 'marker count'),
    (dict(conversations=None), 'no turns'),
    (dict(conversations=[]), 'no turns'),
    (dict(conversations=[{'from': 'system', 'value': 'x'}]), 'no turns'),
    (dict(conversations='Why?'), 'bad json'),
    (dict(conversations=3), 'bad json'),
    (dict(conversations=[{'role': 'user'}]), 'bad json'),
    (dict(conversations=FIELDS['conversations'][:1]), 'bad turns'),
    (dict(conversations=FIELDS['conversations'][::-1]), 'bad turns'),
    (dict(conversations=[{'from': 'human', 'value': 'a'}] * 2), 'bad turns'),
    (
      dict(
        conversations=[
          {'from': 'human', 'value': 'a'},
          {'from': 'gpt', 'value': 3},
        ]
      ),
      'bad text',
    ),
  ],
)
def test_what_is_bad_in_the_wild_has_a_reason(change, why, folder):
  build = lambda: llava.parse(FIELDS | change, 'x/0', folder, '')
  assert reason(build) == why
  if why:
    with pytest.raises(records.BadRecord, match=f'^a: {why}'):
      build()


def test_llava_fields_become_a_record(folder):
  """System turns go; a record without id has its place's name."""
  talk = [{'from': 'system', 'value': 'Be brief.'}, *FIELDS['conversations']]
  fields = dict(image='a.jpg', conversations=talk)
  found = llava.parse(fields, 'train/7', folder, 'train')
  assert found == records.Record(
    'train/7',
    (JPEG,),
    (SIDES[::-1],),
    (records.Turn('<image>\nWhy?', 'So.', 'train'),),
  )
  for given, id in ((12, '12'), ('\ud83d', '\\ud83d'), (0, '0')):
    fields['id'] = given
    assert llava.parse(fields, 'train/7', folder, '').id == id


def test_a_disk_that_fails_is_no_missing_image(folder, monkeypatch):
  """Else a bad hour of a file server would thin out the data."""

  def fail(self):
    raise OSError(5, 'Input/output error')

  monkeypatch.setattr('pathlib.Path.read_bytes', fail)
  with pytest.raises(OSError, match='Input/output'):
    llava.parse(FIELDS, 'x/0', folder, '')


def test_a_bad_record_survives_the_way_from_a_worker():
  bad = records.BadRecord('no turns', 'none', 'a')
  back = pickle.loads(pickle.dumps(bad))
  assert (back.reason, back.detail, back.id) == ('no turns', 'none', 'a')
  assert str(back) == str(bad) == 'a: no turns: none'
