"""Encoded images: how large they are, and how they open.

Nothing here knows of records or of a model's recipe for images.
"""

from collections.abc import Sequence
import io
import pathlib

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from visor_jax.runtime import paths

# What lies behind a transparent picture. `white` is what transformers puts
# there from version 5 on; `stored` shows the colour that the file holds under
# the transparency, mostly black, as the loader of LLaVA-NeXT does.
GROUNDS: dict[str, tuple[int, int, int] | None] = {
  'white': (255, 255, 255),
  'black': (0, 0, 0),
  'stored': None,
}

_DEEP = ('I', 'F')  # modes of more than 8 bits begin so: I;16, I, F

# A picture of such a mode spans the first of these that holds all its values;
# one that none holds spans its own lowest and highest.
_SPANS = {'I': (255, 65535), 'F': (1, 255, 65535)}
_KNOWN_SPANS = {'I;16': 65535, 'PPM': 65535}  # by mode or format of the file

_LYING = (5, 6, 7, 8)  # EXIF orientations that swap height and width


def open_image(
  source: pathlib.Path | str | bytes | PIL.Image.Image,
  transparency: str = 'white',
) -> PIL.Image.Image:
  """An image in RGB, upright by its EXIF tag; the first frame of several.

  What is opaque and has 8 bits is as `transformers.image_utils.load_image` and
  its image processors make it; what has more is scaled to them.

  Args:
    source: path, bytes of a file, or PIL image.
    transparency: what lies behind a transparent one, a name in GROUNDS.

  Raises:
    OSError: there is no such file, or it cannot be read.
    ValueError: it is not an image, is cut short, or is larger than Pillow's
      limit against decompression bombs.
  """
  name: object = 'image'
  # Read in full, so that what fails below is the image and not the disk.
  if not isinstance(source, (bytes, PIL.Image.Image)):
    name, source = source, paths.read(source)
  try:
    if isinstance(source, bytes):
      image: PIL.Image.Image = PIL.Image.open(io.BytesIO(source))
    else:
      image = source
    upright = PIL.ImageOps.exif_transpose(image)
    return to_rgb(upright, transparency, image.format)
  except PIL.UnidentifiedImageError:
    raise ValueError(f'{name}: not an image') from None
  except Exception as e:  # decoders raise OSError, SyntaxError, EOFError, ...
    raise ValueError(f'{name}: the image cannot be opened: {e}') from e


def check_sizes(
  opened: Sequence[PIL.Image.Image], sizes: Sequence[tuple[int, int]]
) -> None:
  """Whether images are as large as was planned, each (height, width).

  Raises:
    ValueError: one is not.
  """
  for image, size in zip(opened, sizes, strict=True):
    if (image.height, image.width) != size:
      raise ValueError(
        f'an image of {image.height} x {image.width}; {size} was planned'
      )


def picture(tiles: np.ndarray) -> PIL.Image.Image:
  """Tiles, uint8 [tiles, height, width, 3], one below the other."""
  return PIL.Image.fromarray(np.concatenate(tiles))


def pixels(image: bytes) -> int:
  """How many the header of a file says that there are; none is decoded.

  Raises:
    ValueError: it is no image.
  """
  try:
    with PIL.Image.open(io.BytesIO(image)) as opened:
      return opened.width * opened.height
  except Exception as e:  # decoders raise OSError, SyntaxError, EOFError, ...
    raise ValueError(f'the image cannot be opened: {e}') from e


def to_rgb(
  image: PIL.Image.Image,
  transparency: str = 'white',
  file_format: str | None = None,
) -> PIL.Image.Image:
  """The picture in RGB, laid on a ground where it is transparent.

  Args:
    image: of any mode.
    transparency: what lies behind it, a name in GROUNDS.
    file_format: of the file that it was opened from, as Pillow names it.

  Raises:
    ValueError: there is no such ground, or Pillow cannot convert the mode.
  """
  if transparency not in GROUNDS:
    names = ', '.join(f'"{name}"' for name in GROUNDS)
    raise ValueError(
      f'transparency is "{transparency}"; expected one of {names}'
    )
  if image.mode.startswith(_DEEP):
    image = _eight_bits(image, file_format)
  if image.mode == 'La':
    image = image.convert('LA')  # Pillow converts it to nothing else
  if not image.has_transparency_data:
    return image.convert('RGB')
  image = image.convert('RGBA')
  colour = GROUNDS[transparency]
  if colour is not None:
    ground = PIL.Image.new('RGBA', image.size, (*colour, 255))
    image = PIL.Image.alpha_composite(ground, image)
  return image.convert('RGB')


def _eight_bits(
  image: PIL.Image.Image, file_format: str | None
) -> PIL.Image.Image:
  """A grey picture of more than 8 bits, scaled to them by its span.

  Pillow would clip it to 0..255, which is mostly white.
  """
  samples = np.asarray(image)
  low, span = _span(image.mode, file_format, samples)
  scaled = np.nan_to_num(samples.astype(np.float32), nan=low, posinf=low + span)
  scaled = np.clip((scaled - low) / span, 0, 1) * 255 + 0.5
  grey = PIL.Image.fromarray(scaled.astype(np.uint8))
  transparent = image.info.get('transparency')
  if transparent is not None:
    grey.putalpha(PIL.Image.fromarray(_opaque(samples, transparent)))
  return grey


def _span(
  mode: str, file_format: str | None, samples: np.ndarray
) -> tuple[float, float]:
  """The value that is black, and how far above it white is."""
  known = _KNOWN_SPANS.get(mode[:4]) or _KNOWN_SPANS.get(file_format or '')
  if known:
    return 0, known
  finite = samples[np.isfinite(samples)]
  low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
  for span in _SPANS[mode]:
    if low >= 0 and high <= span:
      return 0, span
  return float(low), max(float(high) - float(low), 1e-30)


def _opaque(samples: np.ndarray, transparent: int) -> np.ndarray:
  """Alpha, uint8, where one value is transparent."""
  return np.where(samples == transparent, 0, 255).astype(np.uint8)


def size(image: bytes) -> tuple[int, int]:
  """Height and width in pixels as `open_image` gives them.

  Pixels of JPEG and PNG are not decoded if the file is complete: a JPEG has its
  end-of-image marker behind the start of its scan, a PNG the right checksums up
  to its end. All else is decoded, so nothing is refused that `open_image`
  takes. A JPEG that has its end but lost bytes before it passes; most such
  decode, to a picture that is grey from there on.

  Args:
    image: bytes of a file.

  Raises:
    ValueError: it is not an image or is cut short.
  """
  try:
    undecoded = _size_of_complete(image)
    if undecoded is not None:
      return undecoded
    opened = open_image(image)
    return opened.height, opened.width
  except Exception as e:  # parsers raise SyntaxError, struct.error, ...
    raise ValueError(str(e)) from e


def _size_of_complete(image: bytes) -> tuple[int, int] | None:
  """(height, width), or None if only decoding can tell."""
  opened = PIL.Image.open(io.BytesIO(image))
  if opened.format in ('JPEG', 'MPO') and _jpeg_ends(image):
    tag = opened.getexif().get(PIL.ExifTags.Base.Orientation, 1)
    if tag in _LYING:
      return opened.width, opened.height
    return opened.height, opened.width
  # What turns a PNG may stand behind its pixels.
  if opened.format == 'PNG' and not any(
    word in image for word in (b'eXIf', b'exif', b'adobe.xmp')
  ):
    try:
      opened.verify()
    except Exception:
      return None
    return opened.height, opened.width
  return None


def _jpeg_ends(image: bytes) -> bool:
  """The scan has an end; a thumbnail's, before the scan, does not count."""
  at = 2
  while image[at : at + 1] == b'\xff':
    if image[at + 1 : at + 2] == b'\xda':
      # In a scan 0xff is followed by 0 or a restart, so this is no pixel.
      return image.find(b'\xff\xd9', at) >= 0
    at += 2 + int.from_bytes(image[at + 2 : at + 4], 'big')
  return False
