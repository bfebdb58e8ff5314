"""What the files of a checkpoint must be, by the hashes of who wrote them.

Each process leaves `process_{n}.sha256` in the checkpoint when its files are on
disk. It reads as sha256sum's, so that it can be checked without us:

  cd CHECKPOINT && sha256sum --check process_*.sha256

Its first line says of how many processes it is one: a checkpoint with fewer is
unfinished. Its last line is the hash of the lines before it.
"""

from collections.abc import Mapping
import concurrent.futures
import dataclasses
import errno
import hashlib
import pathlib
import re

from visor_jax.runtime import paths
from visor_jax.runtime import retry

UNFINISHED = 'unfinished'  # how the only fault of such a checkpoint begins

_FIRST_LINE = '# visor_jax checkpoint, process {} of {}\n'
UNREADABLE = 'cannot be read now'  # how a fault says that it may pass

_NAME = re.compile(r'process_(0|[1-9][0-9]*)\.sha256')
_WRITER = re.compile(r'process_([0-9]+)([/.]|$)')
# What a server of files makes of one that was deleted while it was open.
_STRAY = re.compile(r'(.*/)?\.nfs[0-9a-fA-F]+')
_DIFFERS = 'its bytes are not those that were written'


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What one process says of the files that it wrote.

  Attributes:
    processes: how many wrote the checkpoint.
    hashes: {file: its SHA-256 in hex}.
  """

  processes: int
  hashes: dict[str, str]


# {process: its manifest, or what is wrong with that}
Manifests = Mapping[int, Manifest | str]


def name(process: int | str) -> str:
  """The file that a process leaves."""
  return f'process_{process}.sha256'


def text(folder: pathlib.Path | str, process: int, processes: int) -> str:
  """What a process says of its files, which it reads.

  Args:
    folder: the checkpoint.
    process: number of this one, from 0.
    processes: how many wrote the checkpoint.
  """
  folder = paths.parse(folder)
  lines = _FIRST_LINE.format(process, processes) + ''.join(
    f'{_sha256(folder / file)}  {file}\n'
    for file in _files(folder)
    if _writer(file) == process
  )
  return f'{lines}# {_hash(lines)}\n'


def finished(folder: pathlib.Path | str) -> bool:
  """Whether every process said what it wrote; reads no other file."""
  return _absent(_read(paths.parse(folder))) is None


def strays(folder: pathlib.Path | str) -> list[str]:
  """Files in a checkpoint that a server of files left there, by path."""
  return [file for file in _walk(paths.parse(folder)) if _STRAY.fullmatch(file)]


def faults(
  folder: pathlib.Path | str, share: int = 0, shares: int = 1
) -> list[str]:
  """What is wrong with a checkpoint, a line for each file; empty if it is good.

  Args:
    folder: the checkpoint.
    share: number, from 0, of the share of its files to hash, where several
      processes do it together.
    shares: how many there are.
  """
  folder = paths.parse(folder)
  try:
    manifests, files = _read(folder), set(_files(folder))
  except OSError as e:
    return [f'{folder.name}: {_unreadable(e)}']
  absent = _absent(manifests)
  if absent is not None:
    return [f'{UNFINISHED}: there is no {name(absent)}']
  lines = [
    f'{name(process)}: {manifest}'
    for process, manifest in manifests.items()
    if isinstance(manifest, str)
  ]
  if lines:
    return lines  # and nobody knows of the others
  hashes = {
    file: sha256
    for manifest in manifests.values()
    if isinstance(manifest, Manifest)
    for file, sha256 in manifest.hashes.items()
  }
  lines += [f'{file}: is not listed' for file in files - hashes.keys()]
  lines += [f'{file}: is missing' for file in hashes.keys() - files]

  failed: list[str] = []  # the disk fails: to wait for each file says no more

  def compare(file: str) -> str | None:
    if failed:
      return None
    try:
      return None if _sha256(folder / file) == hashes[file] else _DIFFERS
    except OSError as e:
      failed.extend([file] if retry.passing(e) else [])
      return _unreadable(e)

  shared = sorted(hashes.keys() & files)[share::shares]
  with concurrent.futures.ThreadPoolExecutor() as pool:
    lines += [
      f'{file}: {fault}'
      for file, fault in zip(shared, pool.map(compare, shared))
      if fault
    ]
  return sorted(lines)


def _read(folder: pathlib.Path) -> Manifests:
  """The manifests that lie in a checkpoint."""
  manifests: dict[int, Manifest | str] = {}
  for path in _list(folder):
    match = _NAME.fullmatch(path.name)
    if match:
      manifests[int(match[1])] = _parse(path, match[1])
  return manifests


def _parse(path: pathlib.Path, process: str) -> Manifest | str:
  """The manifest of a process, or what is wrong with it."""
  if not path.is_file():
    return 'is no file'
  try:
    data = retry.retry(f'reading {path}', path.read_bytes)
    lines, _, last = data.decode().rpartition('# ')
  except UnicodeDecodeError:
    return _DIFFERS
  except OSError as e:
    return _unreadable(e)
  first = re.match(_FIRST_LINE.format(process, r'(\d+)'), lines)
  if last != f'{_hash(lines)}\n' or not first:
    return _DIFFERS
  entries = (line.split('  ', 1) for line in lines.splitlines()[1:])
  return Manifest(int(first[1]), {file: sha256 for sha256, file in entries})


def _absent(manifests: Manifests) -> int | None:
  """The first process without a manifest; None if all have one."""
  counts = [
    manifest.processes
    for manifest in manifests.values()
    if isinstance(manifest, Manifest)
  ]
  processes = range(max(counts, default=1))
  return next((p for p in processes if p not in manifests), None)


def _files(folder: pathlib.Path) -> list[str]:
  """Paths in a checkpoint that a manifest must list, but the manifests."""
  return [
    file
    for file in _walk(folder)
    if not (_NAME.fullmatch(file) or _STRAY.fullmatch(file))
  ]


def _walk(folder: pathlib.Path) -> list[str]:
  return retry.retry(f'listing {folder}', lambda: paths.walk(folder))


def _list(folder: pathlib.Path) -> list[pathlib.Path]:
  try:
    return retry.retry(f'listing {folder}', lambda: list(folder.iterdir()))
  except (FileNotFoundError, NotADirectoryError):
    return []


def _unreadable(error: OSError) -> str:
  words = UNREADABLE if retry.passing(error) else 'cannot be read'
  return f'{words}: {error.strerror or error}'


def _writer(file: str) -> int:
  """The process that wrote a file: its name says it, else it was the first.

  One that is writing its hashes must not appear in those of another.
  """
  match = _WRITER.search(file)
  return int(match[1]) if match else 0


def _sha256(path: pathlib.Path) -> str:
  """Of a file, in hex."""

  def read() -> str:
    with path.open('rb') as f:
      return hashlib.file_digest(f, 'sha256').hexdigest()

  if not (paths.in_bucket(path) or path.is_file()):  # a pipe would not end
    raise OSError(errno.EINVAL, 'is no file')
  return retry.retry(f'reading {path}', read)


def _hash(lines: str) -> str:
  return hashlib.sha256(lines.encode()).hexdigest()
