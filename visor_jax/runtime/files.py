"""Files of a run: written complete or not at all, read row by row."""

import json
import os
import pathlib
from typing import Any


def read_jsonl(path: pathlib.Path | str) -> list[dict[str, Any]]:
  """Complete rows of a file; a last line cut off by a crash is left out.

  Raises:
    json.JSONDecodeError: another line is broken.
  """
  path = pathlib.Path(path)
  if not path.exists():
    return []
  *lines, _ = path.read_text().split('\n')
  return [json.loads(line) for line in lines if line]


def write_atomic(path: pathlib.Path | str, text: str) -> None:
  """Writes a file that is seen complete or not at all, crash or full disk."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + '.part')
  with open(part, 'w') as f:
    f.write(text)
    f.flush()
    os.fsync(f.fileno())
  os.replace(part, path)
