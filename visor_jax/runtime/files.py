"""Files of a run: written complete or not at all, read row by row."""

import json
import os
import pathlib
import re
from typing import Any

from visor_jax.runtime import errors
from visor_jax.runtime import retry

# pathlib takes one of the two slashes away.
_ADDRESS = re.compile('([a-z][a-z0-9+.-]+)://|(gs|s3|hdfs):/')


def local_path(text: pathlib.Path | str, what: str) -> pathlib.Path:
  """A path of this machine; every path that a person gives goes through here.

  Args:
    text: the path, as it was given.
    what: the key or flag that it was given by.

  Raises:
    Refusal: it is the address of an object store.
  """
  match = _ADDRESS.match(str(text))
  if match:
    scheme, rest = match[1] or match[2], str(text)[match.end() :]
    raise errors.Refusal(
      f'{what} is {scheme}://{rest}: files are read and written in folders, '
      'not in object stores; mount the bucket (gcsfuse, mountpoint-s3) and '
      'give its folder, or copy what is needed (gcloud storage cp, aws s3 cp)'
    )
  return pathlib.Path(text)


def read_text(path: pathlib.Path | str) -> str:
  """The text of a file, tried again where a disk or a server fails."""
  path = pathlib.Path(path)
  return retry.retry(f'reading {path}', path.read_text)


def read_json(path: pathlib.Path | str) -> Any:
  """What a file of JSON holds.

  Raises:
    json.JSONDecodeError: it is cut short, or no JSON; names the file.
  """
  text = read_text(path)
  try:
    return json.loads(text)
  except json.JSONDecodeError as e:
    raise _named(e, f'{path}') from None


def read_jsonl(path: pathlib.Path | str) -> list[dict[str, Any]]:
  """Complete rows of a file; a last line cut off by a crash is left out.

  Raises:
    json.JSONDecodeError: another line is broken; names file and line.
  """
  path = pathlib.Path(path)
  if not path.exists():
    return []
  *lines, _ = read_text(path).split('\n')
  rows = []
  for number, line in enumerate(lines, start=1):
    try:
      rows += [json.loads(line)] if line else []
    except json.JSONDecodeError as e:
      raise _named(e, f'{path}, line {number}') from None
  return rows


def write_atomic(path: pathlib.Path | str, text: str) -> None:
  """Writes a file that is seen complete or not at all, crash or full disk.

  It is tried again where a disk or a server fails.
  """
  path = pathlib.Path(path)

  def write() -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    with open(part, 'w') as f:
      f.write(text)
      f.flush()
      os.fsync(f.fileno())
    os.replace(part, path)

  retry.retry(f'writing {path}', write)


def _named(error: json.JSONDecodeError, where: str) -> json.JSONDecodeError:
  return json.JSONDecodeError(f'{where}: {error.msg}', error.doc, error.pos)
