"""Files of a run: written complete or not at all, read row by row."""

import json
import os
import pathlib
from typing import Any

from visor_jax.runtime import paths
from visor_jax.runtime import retry


def read_text(path: pathlib.Path | str) -> str:
  """The text of a file, tried again where a disk or a server fails."""
  path = paths.parse(path)
  return retry.retry(f'reading {path}', path.read_text)


def read_bytes(
  path: pathlib.Path | str, start: int = 0, count: int = -1
) -> bytes:
  """Bytes of a file from one on, all by default; tried again as a text is."""
  path = paths.parse(path)

  def read() -> bytes:
    with path.open('rb') as f:
      f.seek(start)
      return f.read(count)

  return retry.retry(f'reading {path}', read)


def read_jsonl(path: pathlib.Path | str) -> list[dict[str, Any]]:
  """Complete rows of a file; a last line cut off by a crash is left out.

  Raises:
    json.JSONDecodeError: another line is broken; names file and line.
  """
  path = paths.parse(path)
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


def write_atomic(path: pathlib.Path | str, content: str | bytes) -> None:
  """Writes a file that is seen complete or not at all, crash or full disk.

  It is tried again where a disk or a server fails.
  """
  path = paths.parse(path)
  data = content.encode() if isinstance(content, str) else content

  def write() -> None:
    if paths.in_bucket(path):  # an object is
      path.write_bytes(data)
      return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    with open(part, 'wb') as f:
      f.write(data)
      f.flush()
      os.fsync(f.fileno())
    os.replace(part, path)

  retry.retry(f'writing {path}', write)


def _named(error: json.JSONDecodeError, where: str) -> json.JSONDecodeError:
  return json.JSONDecodeError(f'{where}: {error.msg}', error.doc, error.pos)
