"""What a run of `prepare` has finished: a line of JSON for every shard.

The first line is the plan: the job and how many records a shard has. What a
killed run leaves is either in the journal or done again.
"""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any
from typing import TextIO
from typing import TypedDict

from visor_jax.data.prepare import bad_records


class File(TypedDict):
  """A file as shards.json has it.

  Attributes:
    name: the file's.
    bytes: its length.
    sha256: hexadecimal.
  """

  name: str
  bytes: int
  sha256: str


class ListedShard(File):
  """A shard as shards.json has it.

  Attributes:
    records: records in it.
    outline: file of its outline.
  """

  records: int
  outline: File


class Shard(ListedShard):
  """A finished shard as the journal has it.

  Attributes:
    number: number of the shard.
    seen: records of the source that were read for it.
    bad: those of them that are not in it.
  """

  number: int
  seen: int
  bad: bad_records.Reasons


Job = dict[str, Any]  # JSON: what decides the bytes that are written


def check_same(
  folder: pathlib.Path, job: Job, existing: Mapping[str, Any]
) -> None:
  """What is in a folder is of this job.

  Raises:
    ValueError: it is of another one.
  """
  for key, value in job.items():
    if existing.get(key) != value:
      raise ValueError(
        f'{folder} has shards with {key} {existing.get(key)}; this '
        f'would be {value}: give another --out'
      )


def resume(
  journal: TextIO, folder: pathlib.Path, job: Job
) -> tuple[Job | None, dict[int, Shard]]:
  """(plan, {number: shard}) of the run before; (None, {}) of none.

  Args:
    journal: its file, from which a last line that was cut off is removed.
    folder: folder of the shards.
    job: this run's.

  Raises:
    ValueError: the run before was another job.
  """
  journal.seek(0)
  text = journal.read()
  text = text[: text.rfind('\n') + 1]
  journal.truncate(len(text.encode()))
  if not text:
    return None, {}
  plan, *shards = map(json.loads, text.splitlines())
  check_same(folder, job, plan)
  lengths = {p.name: p.stat().st_size for p in folder.glob('shard*')}

  def exists(shard: Shard) -> bool:
    files: tuple[File, ...] = (shard, shard['outline'])
    return all(lengths.get(file['name']) == file['bytes'] for file in files)

  # A file may have gone since.
  return plan, {shard['number']: shard for shard in shards if exists(shard)}


def note(journal: TextIO, line: Mapping[str, Any]) -> None:
  """Adds a line that outlives the machine."""
  journal.write(json.dumps(line) + '\n')
  journal.flush()
  os.fsync(journal.fileno())
