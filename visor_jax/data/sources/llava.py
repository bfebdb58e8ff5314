"""Records out of the fields that LLaVA's data has, wherever they are read from.

A field set is {id, image or images, conversations}, as JSON lists, parquet
files and TensorFlow datasets of visual instructions all have it.
"""

from collections.abc import Iterable
import pathlib
from typing import Any

from visor_jax.data.sources import image_files
from visor_jax.data.sources import records


def parse(
  fields: dict[str, Any],
  name: str,
  images_folder: pathlib.Path | str | None,
  family: str,
) -> records.Record:
  """A Record of the fields that LLaVA's records have.

  Args:
    fields: `conversations`, [{from: human or gpt, value}, ...], and maybe `id`
      and `image` or `images`: paths, bytes or the hub's {bytes, path}, one or a
      list. System turns are left out: the chat template has its own.
    name: id of a record that has none.
    images_folder: folder that image paths start from, or None.
    family: family of the turns.

  Raises:
    records.BadRecord: with the record's id.
    OSError: the disk failed, of which nothing follows for the record.
  """
  if not isinstance(fields, dict):
    raise records.BadRecord('bad json', 'not an object', name)
  if fields.get('id') is not None:
    # Half a character would be an error in every print.
    name = str(fields['id']).encode('utf-8', 'backslashreplace').decode('utf-8')
  images = fields.get('image')
  if images is None:
    images = fields.get('images')
  if images is None:
    images = []
  elif not isinstance(images, list):
    images = [images]
  try:
    turns = _turns(fields.get('conversations'), family)
    files, sizes = encoded_images(images, images_folder)
    record = records.Record(name, files, sizes, turns)
    records.check(record)
  except records.BadRecord as e:
    raise e.named(name) from None
  return record


def encoded_images(
  values: Iterable[object], images_folder: pathlib.Path | str | None = None
) -> tuple[tuple[bytes, ...], tuple[tuple[int, int], ...]]:
  """The files of a record's images, and (height, width) of each.

  Args:
    values: of each image its bytes, its path, or the hub's {bytes, path}.
    images_folder: folder that paths start from, or None.

  Raises:
    records.BadRecord: 'missing image' or 'broken image', without an id.
    OSError: the disk failed, of which nothing follows for the record.
  """
  try:
    files = tuple(image_files.read(v, images_folder) for v in values)
  except ValueError as e:
    raise records.BadRecord('missing image', str(e)) from None
  try:
    return files, tuple(map(image_files.size, files))
  except ValueError as e:
    raise records.BadRecord('broken image', str(e)) from e


def _turns(conversations: Any, family: str) -> tuple[records.Turn, ...]:
  """Turns of [{from, value}, ...]."""
  try:
    messages = [
      (c['from'], c['value'])
      for c in conversations or ()
      if c['from'] != 'system'
    ]
  except (TypeError, KeyError) as e:
    raise records.BadRecord('bad json', f'conversations: {e}') from None
  if not messages:
    raise records.BadRecord('no turns')
  speakers = [speaker for speaker, _ in messages]
  if speakers != ['human', 'gpt'] * (len(messages) // 2):
    raise records.BadRecord(
      'bad turns', f'{speakers}; expected human, gpt, ...'
    )
  texts = [text for _, text in messages]
  if not all(isinstance(text, str) for text in texts):
    raise records.BadRecord('bad text', 'a value is not a string')
  return tuple(
    records.Turn(question, answer, family)
    for question, answer in zip(texts[::2], texts[1::2])
  )
