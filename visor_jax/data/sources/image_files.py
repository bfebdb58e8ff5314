"""Encoded images: where their bytes are, how large they are, how they open.

Nothing here knows of records or of a model's recipe for images.
"""

import errno
import io
import pathlib
import warnings

import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

# Errors of a path that leads to no file; others are the disk's.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)

_LYING = (5, 6, 7, 8)  # EXIF orientations that swap height and width


def read(
  value: object, images_folder: pathlib.Path | str | None = None
) -> bytes:
  """The bytes of an image's file.

  Args:
    value: those bytes, the file's path, or the hub's {bytes, path}.
    images_folder: folder that paths start from, or None.

  Raises:
    ValueError: there is no such file.
    OSError: the disk failed, of which nothing follows for the image.
  """
  if isinstance(value, dict):
    value = value.get('bytes') or value.get('path')
  if isinstance(value, bytes):
    return value
  if not isinstance(value, str) or '\0' in value:
    raise ValueError(f'{value!r} is no path')
  if images_folder is None:
    raise ValueError(f'{value}: no folder was given')
  try:
    return (pathlib.Path(images_folder) / value).read_bytes()
  except OSError as e:
    # Of a disk that fails nothing is known: that must stop the run.
    if e.errno not in _ABSENT:
      raise
    raise ValueError(value) from None


def open_image(
  source: pathlib.Path | str | bytes | PIL.Image.Image,
) -> PIL.Image.Image:
  """An image in RGB, as `transformers.image_utils.load_image` makes it.

  Upright by its EXIF tag; the first frame; what is transparent shows the colour
  that the file holds there. More than 8 bits (modes I;16, I and F) are clipped,
  not scaled, so such an image is mostly white, and warned of.

  Args:
    source: path, bytes of a file, or PIL image.

  Raises:
    OSError: there is no such file, or it cannot be read.
    ValueError: it is not an image, is cut short, or is larger than Pillow's
      limit against decompression bombs.
  """
  name: object = 'image'
  # Read in full, so that what fails below is the image and not the disk.
  if not isinstance(source, (bytes, PIL.Image.Image)):
    name, source = source, pathlib.Path(source).read_bytes()
  try:
    if isinstance(source, bytes):
      image: PIL.Image.Image = PIL.Image.open(io.BytesIO(source))
    else:
      image = source
    if image.mode[0] in 'IF':
      warnings.warn(
        f'{name}: mode {image.mode} is clipped to 0..255', stacklevel=2
      )
    return PIL.ImageOps.exif_transpose(image).convert('RGB')
  except PIL.UnidentifiedImageError:
    raise ValueError(f'{name}: not an image') from None
  except Exception as e:  # decoders raise OSError, SyntaxError, EOFError, ...
    raise ValueError(f'{name}: the image cannot be opened: {e}') from e


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
