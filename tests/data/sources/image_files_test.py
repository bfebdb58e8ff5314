"""Encoded images: their sizes by Pillow, their pixels by transformers."""

import io

import numpy as np
import PIL.Image
import pytest
from transformers import image_transforms
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
def test_opens_as_transformers_loads_it(data, tmp_path):
  (tmp_path / 'x').write_bytes(data)
  want = np.asarray(image_utils.load_image(str(tmp_path / 'x')))
  for source in (
    data,
    tmp_path / 'x',
    str(tmp_path / 'x'),
    PIL.Image.open(io.BytesIO(data)),
  ):
    got = image_files.open_image(source, 'stored')
    assert got.mode == 'RGB'
    np.testing.assert_array_equal(np.asarray(got), want)


# More than 8 bits, and transparent ones ---------------------------------------


def grey(samples, form='TIFF', **options):
  """Values of a picture's first channel as they open."""
  image = PIL.Image.fromarray(np.asarray(samples).reshape(1, -1))
  opened = image_files.open_image(to_bytes(image, form, **options))
  channels = np.asarray(opened)[0]
  assert (channels == channels[:, :1]).all()
  return channels[:, 0].tolist()


@pytest.mark.parametrize('form', ['PNG', 'TIFF', 'PPM'])
def test_16_bits_are_scaled_to_8(form):
  """Black is black, white is white, and the middle is the middle."""
  values = np.array([0, 128, 129, 257, 25700, 32768, 65534, 65535], np.uint16)
  assert grey(values, form) == [0, 0, 1, 1, 100, 128, 255, 255]


@pytest.mark.parametrize('form', ['PNG', 'PPM'])
def test_a_dark_picture_of_16_bits_stays_dark(form):
  assert max(grey(np.arange(0, 250, 5, np.uint16), form)) == 1


@pytest.mark.parametrize('mode', ['I;16', 'I;16L', 'I;16B', 'I;16N'])
def test_16_bits_in_every_order_of_bytes(mode):
  image = PIL.Image.new(mode, (3, 2), 25700)
  assert image_files.open_image(image).getpixel((0, 0)) == (100, 100, 100)


@pytest.mark.parametrize(
  'values, expected',
  [
    ([0, 100, 255], [0, 100, 255]),
    ([0, 25700, 65535], [0, 100, 255]),
    ([-100, 0, 100], [0, 128, 255]),
    ([0, 1_000_000, 2_000_000], [0, 128, 255]),
    ([70_000, 70_000], [0, 0]),
  ],
)
def test_whole_numbers_are_scaled_by_the_span_that_holds_them(values, expected):
  assert grey(np.array(values, np.int32)) == expected


@pytest.mark.parametrize(
  'values, expected',
  [
    ([0, 0.5, 1], [0, 128, 255]),
    ([0, 100, 255], [0, 100, 255]),
    ([0, 25700, 65535], [0, 100, 255]),
    ([-1, 0, 1], [0, 128, 255]),
    ([1e5, 2e5, 3e5], [0, 128, 255]),
    ([0, np.nan, np.inf, -np.inf, 1], [0, 0, 255, 0, 255]),
    ([np.nan, np.nan], [0, 0]),
  ],
)
@pytest.mark.filterwarnings('error')
def test_floats_are_scaled_by_the_span_that_holds_them(values, expected):
  assert grey(np.array(values, np.float32)) == expected


def test_a_picture_of_16_bits_is_turned_by_its_exif():
  image = PIL.Image.fromarray(np.zeros((20, 30), np.uint16))
  data = to_bytes(image, 'TIFF', exif=_exif(6))
  assert image_files.open_image(data).size == (20, 30)
  assert image_files.size(data) == (30, 20)


@pytest.mark.parametrize(
  'mode',
  [
    *('1', 'L', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'LAB', 'HSV', 'I', 'F'),
    *('LA', 'La', 'PA', 'RGBX', 'RGBa', 'I;16', 'I;16L', 'I;16B', 'I;16N'),
  ],
)
@pytest.mark.parametrize('transparency', image_files.GROUNDS)
def test_every_mode_of_pillow_opens(mode, transparency):
  image = PIL.Image.new(mode, (30, 20))
  opened = image_files.open_image(image, transparency)
  assert opened.mode == 'RGB' and opened.size == (30, 20)


# A red box on a ground that is transparent, and black in the file.
_BOX = PIL.Image.new('RGBA', (9, 6), (0, 0, 0, 0))
_BOX.paste((255, 0, 0, 255), (3, 2, 6, 4))


def _palette():
  image = _BOX.convert('RGB').quantize(4)
  return to_bytes(image, 'PNG', transparency=image.getpixel((0, 0)))


_TRANSPARENT = {
  'RGBA': to_bytes(_BOX, 'PNG'),
  'LA': to_bytes(_BOX.convert('LA'), 'PNG'),
  'palette': _palette(),
  'GIF': to_bytes(_BOX, 'GIF'),
  'WEBP': to_bytes(_BOX, 'WEBP', lossless=True),
  'a colour of RGB': to_bytes(
    _BOX.convert('RGB'), 'PNG', transparency=(0, 0, 0)
  ),
  'a value of L': to_bytes(_BOX.convert('L'), 'PNG', transparency=0),
  'a value of 16 bits': to_bytes(
    PIL.Image.fromarray(np.asarray(_BOX.convert('L')).astype(np.uint16) * 257),
    'PNG',
    transparency=0,
  ),
}


@pytest.mark.parametrize('data', _TRANSPARENT.values(), ids=_TRANSPARENT)
@pytest.mark.parametrize(
  'transparency, ground', [('white', 255), ('black', 0), ('stored', 0)]
)
def test_a_transparent_picture_lies_on_what_is_asked_for(
  data, transparency, ground
):
  opened = image_files.open_image(data, transparency)
  assert opened.getpixel((0, 0)) == (ground,) * 3
  assert opened.getpixel((4, 3))[0] in (76, 255)  # the box, grey or red


def test_stored_is_the_colour_under_the_transparency():
  image = PIL.Image.new('RGBA', (3, 2), (9, 99, 199, 0))
  assert image_files.open_image(image, 'stored').getpixel((0, 0)) == (
    *(9, 99, 199),
  )
  assert image_files.open_image(image, 'black').getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
  'data',
  [*_TRANSPARENT.values(), to_bytes(_transparent(), 'PNG')],
  ids=[*_TRANSPARENT, 'half'],
)
def test_white_is_as_transformers_lays_it(data):
  image = PIL.Image.open(io.BytesIO(data))
  if image.mode == 'I;16':
    pytest.skip('transformers clips it')
  want = image_transforms.convert_to_rgb(image, return_numpy=True)
  np.testing.assert_array_equal(
    np.asarray(image_files.open_image(data, 'white')), want
  )


def test_a_ground_that_is_none_is_named():
  with pytest.raises(ValueError, match='transparency is "grey".*"white"'):
    image_files.open_image(_BOX, 'grey')


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
