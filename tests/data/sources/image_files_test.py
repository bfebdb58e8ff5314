"""Encoded images: their sizes by Pillow, their pixels by transformers."""

import io

import numpy as np
import PIL.Image
import pytest
from transformers import image_utils

from tests.data.sources import encoded
from visor_jax.data.sources import image_files

JPEG, PNG, SIDES, file = (
  encoded.JPEG,
  encoded.PNG,
  encoded.SIDES,
  encoded.file,
)


def breaks(data):
  """Whether a file's size cannot be told."""
  try:
    image_files.size(data)
  except ValueError:
    return True
  return False


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
  outcomes = set()
  for stop in [*range(0, len(data), 97), *range(len(data) - 15, len(data))]:
    cut = data[:stop] + fill * (len(data) - stop)  # or a disk's empty block
    try:
      image_files.open_image(cut)
      opens = True
    except ValueError:
      opens = False
    outcomes.add(opens)
    assert breaks(cut) != opens, stop
  assert False in outcomes


@pytest.mark.parametrize(
  'data', [b'', b'not an image', b'\xff\xd8\xff\xd9', b'\xff\xd8\xff', JPEG[1:]]
)
def test_what_is_no_image_is_broken(data):
  assert breaks(data)


def test_the_end_of_a_thumbnail_is_not_that_of_the_image():
  """Cameras put a whole JPEG into the header."""
  small = b'\xff\xe1' + (len(JPEG) + 2).to_bytes(2, 'big') + JPEG
  data = JPEG[:2] + small + JPEG[2:]
  assert image_files.size(data) == SIDES[::-1]
  assert breaks(data[:-100])


# Opening ---------------------------------------------------------------------


def picture(height, width, seed=0):
  """Smooth colours with noise, so that no filter can hide a shift."""
  y, x = np.mgrid[:height, :width]
  noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
  waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 31)], -1)
  return PIL.Image.fromarray((107 + 107 * waves + noise).astype(np.uint8))


def to_bytes(image, form, **options):
  file = io.BytesIO()
  image.save(file, form, **options)
  return file.getvalue()


def _exif(orientation):
  exif = PIL.Image.Exif()
  exif[0x0112] = orientation
  return exif


def _transparent():
  alpha = PIL.Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30))
  image = picture(20, 30)
  image.putalpha(alpha)
  return image


@pytest.mark.parametrize(
  'data',
  [
    to_bytes(picture(20, 30), 'PNG'),
    to_bytes(picture(20, 30), 'JPEG'),
    to_bytes(picture(20, 30).convert('CMYK'), 'JPEG'),
    to_bytes(picture(20, 30).convert('L'), 'PNG'),
    to_bytes(picture(20, 30).convert('1'), 'PNG'),
    to_bytes(picture(20, 30).convert('P'), 'PNG'),
    to_bytes(picture(20, 30).convert('P'), 'PNG', transparency=3),
    to_bytes(
      picture(20, 30).convert('P'),
      'GIF',
      save_all=True,
      append_images=[picture(20, 30, 1)],
    ),
    to_bytes(_transparent(), 'PNG'),
    to_bytes(_transparent().convert('LA'), 'PNG'),
    *(to_bytes(picture(20, 30), 'JPEG', exif=_exif(i)) for i in range(1, 9)),
  ],
)
def test_opens_as_transformers_does(data, tmp_path):
  (tmp_path / 'x').write_bytes(data)
  want = np.asarray(image_utils.load_image(str(tmp_path / 'x')))
  for source in (
    data,
    tmp_path / 'x',
    str(tmp_path / 'x'),
    PIL.Image.open(io.BytesIO(data)),
  ):
    got = image_files.open_image(source)
    assert got.mode == 'RGB'
    np.testing.assert_array_equal(np.asarray(got), want)


@pytest.mark.parametrize('dtype', [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_turn_white_but_not_in_silence(dtype, tmp_path):
  """As in transformers, whose numbers ours are compared with."""
  PIL.Image.fromarray(np.arange(0, 6000, 10, dtype).reshape(20, 30)).save(
    tmp_path / 'x.tiff'
  )
  with pytest.warns(UserWarning, match='x.tiff: mode .* is clipped to 0..255'):
    got = np.asarray(image_files.open_image(tmp_path / 'x.tiff'))
  np.testing.assert_array_equal(
    got, np.asarray(image_utils.load_image(str(tmp_path / 'x.tiff')))
  )
  assert (got[2:] == 255).all() and got[0, 5, 0] == 50


def test_what_is_no_image_is_named(tmp_path):
  file = tmp_path / 'bad.png'
  with pytest.raises(FileNotFoundError, match='bad.png'):
    image_files.open_image(file)
  file.write_bytes(b'<html>404</html>')
  with pytest.raises(ValueError, match='bad.png: not an image'):
    image_files.open_image(file)
  with pytest.raises(ValueError, match='^image: not an image'):
    image_files.open_image(b'')


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
@pytest.mark.parametrize('form', ['PNG', 'JPEG', 'GIF', 'TIFF', 'WEBP', 'BMP'])
@pytest.mark.parametrize('share', [0.01, 0.5, 0.9])
def test_half_an_image_is_named(form, share, tmp_path):
  """Training on a picture that is grey from the middle on helps nobody."""
  data = to_bytes(picture(200, 300), form)
  (tmp_path / 'half').write_bytes(data[: int(len(data) * share)])
  with pytest.raises(ValueError, match='half: '):
    image_files.open_image(tmp_path / 'half')


def test_a_decompression_bomb_is_named(tmp_path, monkeypatch):
  file = tmp_path / 'bomb.png'
  file.write_bytes(to_bytes(picture(200, 300), 'PNG'))
  monkeypatch.setattr(PIL.Image, 'MAX_IMAGE_PIXELS', 29_999)
  with pytest.raises(ValueError, match='bomb.png.* exceeds limit of 59998'):
    image_files.open_image(file)
  monkeypatch.setattr(PIL.Image, 'MAX_IMAGE_PIXELS', 60_000)
  assert image_files.open_image(file).size == (300, 200)
