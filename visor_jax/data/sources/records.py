"""One record for every source: encoded images and a conversation about them.

A source hands out a `Record`: images as the bytes of their files, with the
sizes that rows are planned from, so that pixels are decoded once, when they are
needed. What breaks the contract is a BadRecord with a reason from a short list,
which is what loaders and `prepare` count.
"""

import dataclasses
import re

from visor_jax.runtime import errors

IMAGE = '<image>'  # marks in a question where an image belongs

REASONS = (
  'bad json',  # not JSON, or without the fields of a record
  'bad bytes',  # not what `encoding.encode` wrote
  'bad text',  # not a string, or not Unicode
  'no turns',
  'bad turns',  # not question, answer, question, answer
  'unknown role',  # neither user nor assistant nor system
  'other modality',  # about a video, a sound: neither text nor image
  'empty question',  # nothing besides the images
  'empty answer',
  'missing image',
  'outside image',  # its path leads out of the folder of images
  'special file',  # its path leads to a folder, a FIFO, a device
  'unreadable image',  # nobody may read it, or links lead in a circle
  'large image',  # its file has more bytes than any image needs
  'broken image',  # cannot be opened, or is cut short
  'marker count',  # neither no <image> nor one for each image
  'chat template',  # refuses the conversation, or rewrites earlier turns
  'unknown token',  # the embedding has no row for it
)

# What marks the place of something else: <video>, <|audio_bos|>.
_OTHER_MODALITY = re.compile(
  r'<\|?(video|audio|speech|sound|point_?cloud)s?(_\w+)?\|?>', re.IGNORECASE
)

_DETAIL = 300  # characters of a detail; what strangers write has no end


class BadRecord(ValueError):
  """A record that cannot be used.

  Attributes:
    reason: one of REASONS, for counting.
    detail: what is wrong, in the data's own terms.
    id: the record's; '' where only the caller knows it.
  """

  def __init__(self, reason: str, detail: str = '', id: str = ''):
    detail = _one_line(detail)
    super().__init__(reason, detail, id)
    self.reason, self.detail, self.id = reason, detail, id

  def __str__(self) -> str:
    return ': '.join(filter(None, (self.id, self.reason, self.detail)))

  def named(self, id: str) -> 'BadRecord':
    """The same, of the record with this id."""
    return BadRecord(self.reason, self.detail, id)


class TooManyBad(errors.Refusal):
  """More records are bad than may be; the message counts them."""


@dataclasses.dataclass(frozen=True)
class Turn:
  """A question and its answer.

  Attributes:
    question: the text, with an IMAGE where an image belongs.
    answer: the text.
    family: kind of question, by which results are told apart; '' for none.
    system: what the system says before the question; '' for nothing.
  """

  question: str
  answer: str
  family: str
  system: str = ''


@dataclasses.dataclass(frozen=True)
class Record:
  """A record as sources give it.

  Attributes:
    id: names the record in errors and result rows.
    images: encoded files; () in an outline, which has the rest.
    sizes: (height, width) of each image in pixels, as `image_files.open_image`
      gives it.
    turns: the conversation; a turn's family is its source's name or ''.
  """

  id: str
  images: tuple[bytes, ...]
  sizes: tuple[tuple[int, int], ...]
  turns: tuple[Turn, ...]


def check(record: Record) -> None:
  """Whether the conversation can be tokenized; images are not looked at.

  Raises:
    BadRecord: it cannot be.
  """
  if not record.turns:
    raise BadRecord('no turns', id=record.id)
  markers = 0
  for turn in record.turns:
    texts = turn.system + turn.question + turn.answer
    try:
      texts.encode('utf-8')
    except UnicodeEncodeError as e:  # JSON can spell half a character
      raise BadRecord('bad text', str(e), record.id) from None
    if not turn.question.replace(IMAGE, '').strip():
      raise BadRecord('empty question', repr(turn.question), record.id)
    if not turn.answer.strip():
      raise BadRecord('empty answer', f'to {turn.question!r}', record.id)
    if other := _OTHER_MODALITY.search(texts):
      raise BadRecord('other modality', f'{other[0]} in a turn', record.id)
    markers += texts.count(IMAGE)
  if markers not in (0, len(record.sizes)):  # an outline has no images
    raise BadRecord(
      'marker count',
      f'{markers} {IMAGE} for {len(record.sizes)} images',
      record.id,
    )


def _one_line(text: str) -> str:
  """A text that can be printed, in a line that can be read."""
  text = ' '.join(text[: 4 * _DETAIL].split())
  text = ''.join(c if c.isprintable() else repr(c)[1:-1] for c in text)
  return text if len(text) <= _DETAIL else text[:_DETAIL] + '...'
