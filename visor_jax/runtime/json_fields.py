"""JSON files of strangers: fields of the type and size that is expected.

As in transformers, a field that is null counts as one that is missing.
"""

from collections.abc import Mapping
import dataclasses
import json
import math
import pathlib
from typing import Any
from typing import TypeVar

from visor_jax.runtime import regular_files

MAX_BYTES = 1 << 24  # of a file; those of checkpoints have a few thousand
LARGEST = 1 << 24  # integer, where nothing narrower is asked for

_T = TypeVar('_T')


@dataclasses.dataclass(frozen=True)
class Fields:
  """An object of a JSON file.

  All methods raise a ValueError that names file, field and what was expected.

  Attributes:
    values: as they were read.
    where: file and object, as errors begin: 'config.json: text_config.'.
  """

  values: Mapping[str, Any]
  where: str

  def has(self, key: str) -> bool:
    """Whether a field is there."""
    return self.values.get(key) is not None

  def integer(
    self,
    key: str,
    default: int | None = None,
    least: int = 1,
    most: int = LARGEST,
  ) -> int:
    """A whole number; without a default it must be there."""
    value = self._value(key, default)
    if not _is_integer(value) or not least <= value <= most:
      raise self.error(key, f'an integer from {least} to {most}')
    return value

  def number(
    self,
    key: str,
    default: float | None = None,
    least: float = -math.inf,
  ) -> float:
    """A finite number."""
    value = self._value(key, default)
    if not _is_number(value) or value < least:
      raise self.error(
        key,
        'a finite number'
        + (f' of at least {least}' if least > -math.inf else ''),
      )
    return float(value)

  def flag(self, key: str, default: bool) -> bool:
    """true or false."""
    value = self._value(key, default)
    if not isinstance(value, bool):
      raise self.error(key, 'true or false')
    return value

  def text(self, key: str, default: str | None = None) -> str:
    """A string."""
    value = self._value(key, default)
    if not isinstance(value, str):
      raise self.error(key, 'a string')
    return value

  def fields(self, key: str) -> 'Fields':
    """An object; an empty one where there is none."""
    value = self.values.get(key)
    if not isinstance(value, dict | None):
      raise self.error(key, 'an object')
    return Fields(value or {}, f'{self.where}{key}.')

  def strings(self, key: str) -> list[str]:
    """A list of strings; an empty one where there is none."""
    value = self._value(key, [])
    if not isinstance(value, list) or not all(
      isinstance(item, str) for item in value
    ):
      raise self.error(key, 'a list of strings')
    return value

  def numbers(
    self, key: str, default: list[float] | None = None
  ) -> list[float]:
    """A list of finite numbers."""
    value = self._value(key, default)
    if not isinstance(value, list) or not all(map(_is_number, value)):
      raise self.error(key, 'a list of finite numbers')
    return [float(item) for item in value]

  def integers(
    self, key: str, default: list[int] | None = None, most: int = LARGEST
  ) -> list[int]:
    """An integer from 0 to `most`, or a list of them, as a list."""
    value = self._value(key, default)
    value = value if isinstance(value, list) else [value]
    if not all(_is_integer(item) and 0 <= item <= most for item in value):
      raise self.error(key, f'integers from 0 to {most}')
    return value

  def require(self, key: str, value: object) -> None:
    """A field that is there has this value."""
    if self.has(key) and self.values[key] != value:
      raise self.error(key, f'{value!r}, which is what the model has')

  def require_all(self, values: Mapping[str, object]) -> None:
    """`require` of each."""
    for key, value in values.items():
      self.require(key, value)

  def with_defaults(self, defaults: Mapping[str, Any]) -> 'Fields':
    """The same, with these where it says nothing."""
    return Fields({**defaults, **self.values}, self.where)

  def error(self, key: str, expected: str) -> ValueError:
    """What to raise of a field."""
    if not self.has(key):
      return ValueError(f'{self.where}{key} is missing; expected {expected}')
    given = shortened(self.values[key])
    return ValueError(f'{self.where}{key} is {given}; expected {expected}')

  def _value(self, key: str, default: _T | None) -> Any:
    value = self.values.get(key)
    return default if value is None else value


def read(path: pathlib.Path | str, most: int = MAX_BYTES) -> Fields:
  """Reads the object in a file.

  Args:
    path: of the file.
    most: bytes that it may have.

  Raises:
    OSError: there is no such file, or it cannot be read.
    ValueError: it is no file of JSON, or too large; names it.
  """
  text = regular_files.read(path, most)
  try:
    values = json.loads(text)
  except (ValueError, RecursionError) as e:
    raise ValueError(f'{path} is broken, no JSON: {e}') from None
  if not isinstance(values, dict):
    raise ValueError(
      f'{path} holds a {type(values).__name__}; expected an object of fields'
    )
  return Fields(values, f'{path}: ')


def read_if_there(path: pathlib.Path | str) -> Fields:
  """As `read`; no fields where there is no such file."""
  if not pathlib.Path(path).exists():
    return Fields({}, f'{path}: ')
  return read(path)


def shortened(value: object, most: int = 200) -> str:
  """A value for an error, which it does not fill."""
  text = repr(value)
  return text if len(text) <= most else f'{text[:most]} ...'


def _is_integer(value: object) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
  if isinstance(value, bool) or not isinstance(value, int | float):
    return False
  return abs(value) < 1e30  # neither NaN nor infinity, nor beyond float32
