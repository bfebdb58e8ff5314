"""One record for every source: encoded images and a conversation about them.

A source hands out `Raw`: images as the bytes of their files, with the sizes
that rows are planned from, so that pixels are decoded once, when they are
needed. What breaks the contract is a BadRecord with a reason from a short list,
which is what loaders and `prepare` count.
"""

import dataclasses
import errno
import io
import json
import pathlib

import PIL.ExifTags
import PIL.Image

from visor_jax.data.processing import chat
from visor_jax.data.processing import images
from visor_jax.data.processing import text

REASONS = (
  'bad json',  # not JSON, or without the fields of a record
  'bad bytes',  # not what `encode` wrote
  'bad text',  # not a string, or not Unicode
  'no turns',
  'bad turns',  # not question, answer, question, answer
  'empty question',  # nothing besides the images
  'empty answer',
  'missing image',
  'broken image',  # cannot be opened, or is cut short
  'marker count',  # neither no <image> nor one for each image
)

_MAGIC = b'VJR1'  # first bytes of an encoded record; the digit is a version


class BadRecord(ValueError):
  """A record that cannot be used.

  Attributes:
    reason: one of REASONS, for counting.
    detail: what was found.
    id: of the record; '' where only the caller knows it.
  """

  def __init__(self, reason: str, detail: str = '', id: str = ''):
    super().__init__(reason, detail, id)
    self.reason, self.detail, self.id = reason, detail, id

  def __str__(self):
    return ': '.join(filter(None, (self.id, self.reason, self.detail)))


class TooManyBad(ValueError):
  """More records are bad than may be; the message counts them."""


@dataclasses.dataclass(frozen=True)
class Raw:
  """A record as sources give it.

  Attributes:
    id: names the record in errors and result rows.
    images: encoded files; () in an outline, which has the rest.
    sizes: (height, width) in pixels of each as `images.open_image` gives it.
    turns: the conversation; a turn's family is its source's name or ''.
  """

  id: str
  images: tuple[bytes, ...]
  sizes: tuple[tuple[int, int], ...]
  turns: tuple[chat.Turn, ...]


def of_llava(fields: dict, name: str, images_folder, family: str) -> Raw:
  """A Raw of the fields that LLaVA's records have.

  Args:
    fields: `conversations`, [{from: human or gpt, value}, ...], and maybe `id`
      and `image` or `images`: paths, bytes or the hub's {bytes, path}, one or a
      list. System turns are left out: the chat template has its own.
    name: of a record without id.
    images_folder: what image paths start from, or None.
    family: of the turns.

  Raises:
    BadRecord: with the record's id.
    OSError: the disk failed, of which nothing follows for the record.
  """
  if not isinstance(fields, dict):
    raise BadRecord('bad json', 'not an object', name)
  if fields.get('id') is not None:
    # Half a character would be an error in every print.
    name = str(fields['id']).encode('utf-8', 'backslashreplace').decode('utf-8')
  pictures = fields.get('image')
  if pictures is None:
    pictures = fields.get('images')
  if pictures is None:
    pictures = []
  elif not isinstance(pictures, list):
    pictures = [pictures]
  try:
    turns = _turns(fields.get('conversations'), family)
    files = tuple(picture(p, images_folder) for p in pictures)
    raw = Raw(name, files, tuple(map(size, files)), turns)
    check(raw)
  except BadRecord as e:
    raise BadRecord(e.reason, e.detail, name) from None
  return raw


def _turns(conversations, family):
  """Turns of [{from, value}, ...]."""
  try:
    said = [
      (c['from'], c['value'])
      for c in conversations or ()
      if c['from'] != 'system'
    ]
  except (TypeError, KeyError) as e:
    raise BadRecord('bad json', f'conversations: {e}') from None
  if not said:
    raise BadRecord('no turns')
  who = [w for w, _ in said]
  if who != ['human', 'gpt'] * (len(said) // 2):
    raise BadRecord('bad turns', f'{who}; expected human, gpt, ...')
  if not all(isinstance(value, str) for _, value in said):
    raise BadRecord('bad text', 'a value is not a string')
  return tuple(
    chat.Turn(question, answer, family)
    for (_, question), (_, answer) in zip(said[::2], said[1::2])
  )


def picture(value, images_folder=None) -> bytes:
  """An image's file, from bytes, a path or the hub's {bytes, path}.

  Raises:
    BadRecord: 'missing image'.
    OSError: the disk failed, of which nothing follows for the record.
  """
  if isinstance(value, dict):
    value = value.get('bytes') or value.get('path')
  if isinstance(value, bytes):
    return value
  if not isinstance(value, str) or '\0' in value:
    raise BadRecord('missing image', f'{value!r} is no path')
  if images_folder is None:
    raise BadRecord('missing image', f'{value}: no folder was given')
  try:
    return (pathlib.Path(images_folder) / value).read_bytes()
  except OSError as e:
    # Of a disk that fails nothing is known: that must stop the run.
    if e.errno not in (
      errno.ENOENT,
      errno.ENOTDIR,
      errno.EISDIR,
      errno.ENAMETOOLONG,
    ):
      raise
    raise BadRecord('missing image', value) from None


def check(raw: Raw) -> None:
  """Whether the conversation can be tokenized; images were seen by `size`.

  Raises:
    BadRecord: it cannot be.
  """
  if not raw.turns:
    raise BadRecord('no turns', id=raw.id)
  markers = 0
  for turn in raw.turns:
    both = turn.question + turn.answer
    try:
      both.encode('utf-8')
    except UnicodeEncodeError as e:  # JSON can spell half a character
      raise BadRecord('bad text', str(e), raw.id) from None
    if not turn.question.replace(text.IMAGE, '').strip():
      raise BadRecord('empty question', repr(turn.question), raw.id)
    if not turn.answer.strip():
      raise BadRecord('empty answer', f'to {turn.question!r}', raw.id)
    markers += both.count(text.IMAGE)
  if markers not in (0, len(raw.sizes)):  # an outline has no images
    raise BadRecord(
      'marker count',
      f'{markers} {text.IMAGE} for {len(raw.sizes)} images',
      raw.id,
    )


def size(image: bytes) -> tuple[int, int]:
  """Height and width in pixels as `images.open_image` gives them.

  Pixels of JPEG and PNG are not decoded if the file is whole: a JPEG has its
  end-of-image marker behind the start of its scan, a PNG the right checksums up
  to its end. All else is decoded, so nothing is refused that `open_image`
  takes. A JPEG that has its end but lost bytes before it passes; most such
  decode, to a picture that is grey from there on.

  Raises:
    BadRecord: 'broken image'.
  """
  try:
    found = _size_of_whole(image)
    if found is None:
      opened = images.open_image(image)
      found = opened.height, opened.width
  except Exception as e:  # parsers raise SyntaxError, struct.error, ...
    raise BadRecord('broken image', str(e)) from e
  return found


def _size_of_whole(image):
  """(height, width), or None if only decoding can tell."""
  opened = PIL.Image.open(io.BytesIO(image))
  if opened.format in ('JPEG', 'MPO') and _jpeg_ends(image):
    exif = opened.getexif()
    lying = exif.get(PIL.ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return opened.size if lying else opened.size[::-1]
  # What turns a PNG may stand behind its pixels.
  if opened.format == 'PNG' and not any(
    word in image for word in (b'eXIf', b'exif', b'adobe.xmp')
  ):
    try:
      opened.verify()
    except Exception:
      return None
    return opened.size[::-1]
  return None


def _jpeg_ends(image):
  """The scan has an end; a thumbnail's, before the scan, does not count."""
  at = 2
  while image[at : at + 1] == b'\xff':
    if image[at + 1 : at + 2] == b'\xda':
      # In a scan 0xff is followed by 0 or a restart, so this is no pixel.
      return image.find(b'\xff\xd9', at) >= 0
    at += 2 + int.from_bytes(image[at + 2 : at + 4], 'big')
  return False


def encode(raw: Raw) -> bytes:
  """Equal bytes for equal records: magic, JSON's length, JSON, images.

  The length is 4 bytes, little-endian. The JSON has id, images as [height,
  width, bytes] and turns as [question, answer, family].
  """
  header = json.dumps(
    dict(
      id=raw.id,
      images=[[*s, len(i)] for s, i in zip(raw.sizes, raw.images, strict=True)],
      turns=[[t.question, t.answer, t.family] for t in raw.turns],
    ),
    ensure_ascii=False,
    separators=(',', ':'),
  ).encode('utf-8')
  return b''.join(
    (_MAGIC, len(header).to_bytes(4, 'little'), header, *raw.images)
  )


def outline(data: bytes) -> bytes:
  """What rows are planned from: an encoded record up to its images."""
  return data[: 8 + int.from_bytes(data[4:8], 'little')]


def decode(data: bytes, outlined: bool = False) -> Raw:
  """What `encode` wrote.

  Args:
    data: an encoded record, or what `outline` made of one.
    outlined: it is the latter, so the Raw has sizes but no images.

  Raises:
    BadRecord: 'bad bytes'.
  """
  if data[:4] != _MAGIC:
    raise BadRecord('bad bytes', f'begins with {data[:4]!r}, not {_MAGIC!r}')
  at = 8 + int.from_bytes(data[4:8], 'little')
  try:
    header = json.loads(data[8:at])
    sizes, files = [], []
    for height, width, length in header['images']:
      sizes.append((height, width))
      if not outlined:
        files.append(data[at : at + length])
        at += length
    raw = Raw(
      header['id'],
      tuple(files),
      tuple(sizes),
      tuple(chat.Turn(*t) for t in header['turns']),
    )
  except (ValueError, KeyError, TypeError) as e:
    raise BadRecord('bad bytes', f'header: {e}') from None
  if at != len(data):
    raise BadRecord(
      'bad bytes', f'{len(data)} bytes; the header says {at}', raw.id
    )
  return raw
