"""Records out of the fields that conversations have, wherever they are read.

LLaVA's data has {id, image or images, conversations: [{from, value}, ...]},
OpenAI's {messages: [{role, content}, ...]}, with a content that is a text or a
list of texts and images. JSON lists, parquet files and TensorFlow datasets of
visual instructions have either.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import os
from typing import Any
from typing import NamedTuple

from visor_jax.data.sources import image_files
from visor_jax.data.sources import image_paths
from visor_jax.data.sources import records
from visor_jax.runtime import regular_files

IMAGES = ('image', 'images')  # fields of image files
TURNS = ('conversations', 'messages')  # fields of what is said

# Fields of what is neither text nor image. A record that has one is about it.
OTHER_MODALITIES = tuple(
  modality + ending
  for modality in ('video', 'audio', 'speech', 'sound', 'point_cloud')
  for ending in ('', 's', '_path', '_paths', '_file', '_files', '_url', '_urls')
)

FIELDS = ('id', 'system', *IMAGES, *TURNS, *OTHER_MODALITIES)

_USER, _ASSISTANT, _SYSTEM = 'user', 'assistant', 'system'
_ROLES = {
  'human': _USER,
  'user': _USER,
  'gpt': _ASSISTANT,
  'assistant': _ASSISTANT,
  'system': _SYSTEM,
}

# {type of a part of a content: its fields with text or with an image}.
_TEXT_PARTS = {'text': 'text', 'input_text': 'text', 'output_text': 'text'}
_IMAGE_PARTS = {
  'image': ('image', 'path', 'url'),
  'image_url': ('image_url',),
  'input_image': ('image_url',),
}


class _Message(NamedTuple):
  """A message of a conversation.

  Attributes:
    role: one of _ROLES' values.
    text: with an IMAGE where an image belongs.
    images: the values of those that the message itself holds.
  """

  role: str
  text: str
  images: tuple[object, ...]


def parse(
  fields: Mapping[str, Any],
  name: str,
  images: image_paths.Folder,
  family: str,
) -> records.Record:
  """A Record of the fields that a conversation has.

  Args:
    fields: `conversations` or `messages`, and maybe `id`, `system`, and `image`
      or `images`: paths, bytes or the hub's {bytes, path}, one or a list.
    name: id of a record that has none.
    images: where image paths start from.
    family: family of the turns.

  Raises:
    records.BadRecord: with the record's id.
    OSError: the disk failed, of which nothing follows for the record.
  """
  if not isinstance(fields, Mapping):
    kind = type(fields).__name__
    raise records.BadRecord('bad json', f'{kind}, not an object', name)
  if fields.get('id') is not None:
    # Half a character would be an error in every print.
    name = str(fields['id']).encode('utf-8', 'backslashreplace').decode('utf-8')
  try:
    messages = _messages(fields)
    files, sizes = encoded_images(_images(fields, messages), images)
    record = records.Record(name, files, sizes, _turns(messages, family))
    records.check(record)
  except records.BadRecord as e:
    raise e.named(name) from None
  except OSError as e:
    message = f'record {name}: {os.strerror(e.errno or 0)}'
    raise OSError(e.errno, message, e.filename) from e
  return record


def encoded_images(
  values: Iterable[object], images: image_paths.Folder = image_paths.Folder()
) -> tuple[tuple[bytes, ...], tuple[tuple[int, int], ...]]:
  """The files of a record's images, and (height, width) of each.

  Args:
    values: of each image its bytes, its path, or the hub's {bytes, path}.
    images: where paths start from.

  Raises:
    records.BadRecord: what is wrong with an image, without an id.
    OSError: the disk failed, of which nothing follows for the record.
  """
  files, total = [], 0
  for value in values:
    try:
      files.append(images.read(value))
    except image_paths.BadPath as e:
      raise records.BadRecord(e.reason, str(e)) from None
    total += len(files[-1])
    if total > regular_files.MAX_BYTES:
      raise records.BadRecord(
        'large image',
        f'the first {len(files)} images have {total} bytes; expected at most '
        f'{regular_files.MAX_BYTES} in all',
      )
  try:
    return tuple(files), tuple(map(image_files.size, files))
  except ValueError as e:
    raise records.BadRecord('broken image', str(e)) from e


def _messages(fields: Mapping[str, Any]) -> list[_Message]:
  """What is said in a record, in order; its own system message first."""
  for field in OTHER_MODALITIES:
    if fields.get(field):
      raise records.BadRecord('other modality', f'{field} {fields[field]!r}')
  given = [field for field in TURNS if fields.get(field) is not None]
  if len(given) > 1:
    raise records.BadRecord('bad json', f'both {" and ".join(given)}')
  if not given:
    keys = ', '.join(map(str, fields))
    raise records.BadRecord(
      'no turns', f'neither {" nor ".join(TURNS)}, only {keys}'
    )
  (field,) = given
  if not isinstance(fields[field], list):
    kind = type(fields[field]).__name__
    raise records.BadRecord('bad json', f'{field}: {kind}, not a list')
  messages = [_message(value, field) for value in fields[field]]
  if fields.get('system') is not None:
    value = {'role': _SYSTEM, 'content': fields['system']}
    messages.insert(0, _message(value, 'system'))
  return messages


def _message(value: Any, field: str) -> _Message:
  """Of {from, value} or {role, content}."""
  if not isinstance(value, Mapping):
    kind = type(value).__name__
    raise records.BadRecord('bad json', f'{field}: {kind}, not an object')
  role = _first(value, ('from', 'role'))
  content = _first(value, ('value', 'content'))
  if role is None:
    keys = ', '.join(map(str, value))
    raise records.BadRecord(
      'bad json', f'{field}: neither from nor role, only {keys}'
    )
  if not isinstance(role, str) or role not in _ROLES:
    known = ', '.join(_ROLES)
    raise records.BadRecord(
      'unknown role', f'{role!r}; expected one of {known}'
    )
  for call in ('tool_calls', 'function_call'):
    if value.get(call):
      raise records.BadRecord('unknown role', f'{role} has {call}')
  if value.get('weight') == 0:  # of OpenAI's: not to be learned from
    raise records.BadRecord('bad turns', f'{role} has weight 0')
  if content is None:
    raise records.BadRecord('bad json', f'{field}: {role} says nothing')
  if isinstance(content, str):
    return _Message(_ROLES[role], content, ())
  if not isinstance(content, list):
    kind = type(content).__name__
    raise records.BadRecord('bad text', f'of {role}: {kind}, not a string')
  texts, images = [], []
  for part in content:
    text, image = _part(part)
    texts.append(text)
    images += image
  return _Message(_ROLES[role], ''.join(texts), tuple(images))


def _part(part: Any) -> tuple[str, list[object]]:
  """The text of a part of a content, and its image if it holds one."""
  if isinstance(part, str):
    return part, []
  kind = part.get('type') if isinstance(part, Mapping) else None
  if kind in _TEXT_PARTS:
    text = part.get(_TEXT_PARTS[kind])
    if not isinstance(text, str):
      raise records.BadRecord('bad text', f'a part {part!r} without a text')
    return text, []
  if kind not in _IMAGE_PARTS:
    raise records.BadRecord(
      'other modality', f'a part {part!r}; expected a text or an image'
    )
  value = _first(part, _IMAGE_PARTS[kind])
  if isinstance(value, Mapping) and 'url' in value:
    value = value['url']
  return records.IMAGE, [] if value is None else [value]


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
  """The first field that is there; None for none."""
  return next((fields[n] for n in names if fields.get(n) is not None), None)


def _images(
  fields: Mapping[str, Any], messages: Sequence[_Message]
) -> list[object]:
  """The values of a record's images, from its field or from its messages."""
  places = {
    field: value if isinstance(value, list) else [value]
    for field in IMAGES
    if (value := fields.get(field)) is not None
  }
  places['messages'] = [value for m in messages for value in m.images]
  filled = {field: values for field, values in places.items() if values}
  if len(filled) > 1:
    raise records.BadRecord(
      'bad json', f'images in {" and in ".join(filled)}; expected one of them'
    )
  return next(iter(filled.values()), [])


def _turns(
  messages: Sequence[_Message], family: str
) -> tuple[records.Turn, ...]:
  """Questions with their answers, and what the system says before them."""
  turns: list[records.Turn] = []
  roles = tuple(message.role for message in messages)
  if not set(roles) - {_SYSTEM}:
    raise records.BadRecord('no turns', f'{len(roles)} messages, no question')
  system: list[str] = []
  question = None
  for message in messages:
    if message.role == _SYSTEM and question is None:
      system += [message.text] if message.text.strip() else []
    elif message.role == _USER and question is None:
      question = message.text
    elif message.role == _ASSISTANT and question is not None:
      turns.append(
        records.Turn(question, message.text, family, '\n\n'.join(system))
      )
      system, question = [], None
    else:
      break
  else:
    if question is None and not system:
      return tuple(turns)
  raise records.BadRecord(
    'bad turns', f'{", ".join(roles)}; expected user, assistant, ...'
  )
