"""Files with their SHA-256 beside them: what lost a line never counts as whole.

What a job leaves for others, or goes on from, is written here. A file without
a hash is taken as it is, so that one may be changed on purpose; its readers
check what it says. To check a folder without us:

  cd FOLDER && sha256sum --check *.sha256
"""

from collections.abc import Callable
from collections.abc import Iterator
import hashlib
import json
import pathlib
from typing import Any
from typing import TypeVar

from visor_jax.runtime import console
from visor_jax.runtime import files

T = TypeVar('T')


def write(path: pathlib.Path, content: str | bytes) -> None:
  """Writes a file, complete or not at all, and its hash."""
  beside = _beside(path)
  beside.unlink(missing_ok=True)  # that of what was there
  data = content.encode() if isinstance(content, str) else content
  files.write_atomic(path, data)
  files.write_atomic(beside, f'{_sha256(data)}  {path.name}\n')


def remove(path: pathlib.Path) -> None:
  """Removes a file and its hash, where they are there."""
  for file in (path, _beside(path)):
    file.unlink(missing_ok=True)


def read_bytes(path: pathlib.Path) -> bytes:
  """What a file holds.

  Raises:
    ValueError: it is not what was written.
  """
  data, beside = files.read_bytes(path), _beside(path)
  if beside.exists() and files.read_text(beside).split()[:1] != [_sha256(data)]:
    raise ValueError(
      f'{path} is not what was written: its SHA-256 is not that in '
      f'{beside.name}; run the job again that leaves it, or delete '
      f'{beside.name} if the change was meant'
    )
  return data


def read_text(path: pathlib.Path) -> str:
  """The text of a file.

  Raises:
    ValueError: it is not what was written.
  """
  return read_bytes(path).decode()


def read_object(path: pathlib.Path, *needed: str) -> dict[str, Any]:
  """A file that is one JSON object.

  Args:
    path: of the file.
    *needed: keys that it must have.

  Raises:
    ValueError: naming the file, and what is wrong with it.
  """
  value = _parse(read_text(path), f'{path}')
  for key in needed:
    if key not in value:
      raise ValueError(f'{path} lacks "{key}"; it has {sorted(value)}')
  return value


def read_rows(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields ('file, line 3', row) for a file of a JSON object a line.

  Raises:
    ValueError: naming file and line, and what is wrong with it.
  """
  for number, line in enumerate(read_text(path).split('\n'), start=1):
    if line.strip():
      location = f'{path}, line {number}'
      yield location, _parse(line, location)


def intact(path: pathlib.Path, read: Callable[[], T]) -> T | None:
  """What a file says that can be made again.

  Args:
    path: of the file.
    read: reads it, and raises a ValueError where it is not what it must be.

  Returns:
    None where there is no such file, or where it must be made again, which the
    console says.
  """
  if not path.exists():
    return None
  try:
    return read()
  except ValueError as e:
    console.log(f'{e} (it is made again now)')
    return None


def _beside(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(path.name + '.sha256')


def _sha256(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()


def _parse(text: str, location: str) -> dict[str, Any]:
  try:
    value = json.loads(text)
  except json.JSONDecodeError as e:
    raise ValueError(f'{location}: not JSON ({e.msg}): {text[:60]!r}') from None
  if not isinstance(value, dict):
    raise ValueError(f'{location}: expected a JSON object, not {text[:60]!r}')
  return value
