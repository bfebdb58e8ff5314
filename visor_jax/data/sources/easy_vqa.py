"""easy-VQA: 48,248 questions about shapes and colours, a glance each.

  easy-vqa:train    images with all that is asked about each
  easy-vqa:test     a question a record, each asked of a test by itself

Published by Victor Zhou under the MIT license; `pip install easy-vqa` brings
questions, answers and images of 64 x 64 pixels.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import types
from typing import Any

from visor_jax.data.sources import fingerprints
from visor_jax.data.sources import image_files
from visor_jax.data.sources import records
from visor_jax.runtime import files

NAME = 'easy-vqa:'


def library() -> types.ModuleType:
  """The module easy_vqa.

  Raises:
    ValueError: it is not installed.
  """
  try:
    import easy_vqa
  except ImportError as e:
    raise ValueError(
      f'easy_vqa cannot be imported; pip install easy-vqa: {e}'
    ) from None
  module: types.ModuleType = easy_vqa
  return module


class Source:
  """A protocols.Source.

  Attributes:
    name: 'easy-vqa'.
    fingerprint: changes when the questions do.

  Args:
    path: 'easy-vqa:train' or 'easy-vqa:test'.

  Raises:
    ValueError: it is neither, or the package is not installed.
  """

  name = 'easy-vqa'

  def __init__(self, path: str):
    split = path.removeprefix(NAME)
    if split not in _CONVERSATIONS:
      raise ValueError(f'{path}: expected easy-vqa:train or easy-vqa:test')
    package: Any = library()
    texts, answers, images = getattr(package, f'get_{split}_questions')()
    self._paths: Mapping[int, str] = getattr(
      package, f'get_{split}_image_paths'
    )()
    asked = list(zip(texts, answers, images))
    self._conversations = _CONVERSATIONS[split](asked)
    self._split = split
    self.fingerprint = fingerprints.digest(path, asked)

  def __len__(self) -> int:
    return len(self._conversations)

  def __getitem__(self, index: int) -> records.Record:
    image, turns = self._conversations[index]
    data = files.read_bytes(self._paths[image])
    opened = image_files.open_image(data)
    return records.Record(
      f'easy-vqa/{self._split}/{index}',
      (data,),
      ((opened.height, opened.width),),
      tuple(records.Turn(text, answer, self.name) for text, answer in turns),
    )

  def outline(self, index: int) -> records.Record:
    """The record itself: images are of a few hundred bytes."""
    return self[index]


# An image, and (question, answer) of all that is asked about it.
Conversation = tuple[int, list[tuple[str, str]]]
Asked = Sequence[tuple[str, str, int]]  # (question, answer, image)


def by_image(asked: Asked) -> list[Conversation]:
  """A conversation for each image."""
  turns: dict[int, list[tuple[str, str]]] = {}
  for text, answer, image in asked:
    turns.setdefault(image, []).append((text, answer))
  return list(turns.items())


def asked_alone(asked: Asked) -> list[Conversation]:
  """A conversation for each question."""
  return [(image, [(text, answer)]) for text, answer, image in asked]


_CONVERSATIONS = {'train': by_image, 'test': asked_alone}
