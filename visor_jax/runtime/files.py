"""Files of a run: written whole or not at all, read row by row."""

import json
import os
import pathlib


def read_jsonl(path) -> list[dict]:
  """Whole rows of a file; a last line cut off by a crash is left out."""
  path = pathlib.Path(path)
  if not path.exists():
    return []
  lines = path.read_text().split('\n')
  return [json.loads(line) for line in lines[:-1] if line]


def write_atomic(path, text: str) -> None:
  """Writes a file that is seen whole or not at all, crash or full disk."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + '.part')
  with open(part, 'w') as f:
    f.write(text)
    f.flush()
    os.fsync(f.fileno())
  os.replace(part, path)
