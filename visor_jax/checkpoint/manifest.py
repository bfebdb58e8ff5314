"""What the files of a checkpoint must be, by the hashes of who wrote them.

Each process leaves `process_{n}.sha256` in the checkpoint when its files are on
disk. It reads as sha256sum's, so that it can be checked without us:

  cd CHECKPOINT && sha256sum --check process_*.sha256

Its first line says of how many processes it is one: a checkpoint with fewer is
unfinished. Its last line is the hash of the lines before it.
"""

import concurrent.futures
import hashlib
import pathlib
import re

UNFINISHED = 'unfinished'  # how the only fault of such a checkpoint begins

_FIRST = '# visor_jax checkpoint, process {} of {}\n'
_NAME = re.compile(r'process_(\d+)\.sha256')
_DIFFERS = 'its bytes are not those that were written'


def name(process: int) -> str:
  """The file that a process leaves."""
  return f'process_{process}.sha256'


def text(folder, process: int, processes: int) -> str:
  """What a process says of its files, which it reads.

  Args:
    folder: the checkpoint.
    process: which process.
    processes: how many wrote the checkpoint.
  """
  folder = pathlib.Path(folder)
  lines = _FIRST.format(process, processes) + ''.join(
    f'{_sha256(folder / file)}  {file}\n'
    for file in _files(folder)
    if _writer(file) == process
  )
  return f'{lines}# {_hash(lines)}\n'


def finished(folder) -> bool:
  """Did every process say what it wrote? Reads no other file."""
  return _absent(_read(pathlib.Path(folder))) is None


def faults(folder, share: int = 0, shares: int = 1) -> list[str]:
  """What is wrong with a checkpoint, a line for each file; empty if it is good.

  Args:
    folder: the checkpoint.
    share: which share of its files to hash, where several do it together.
    shares: how many there are.
  """
  folder = pathlib.Path(folder)
  said = _read(folder)
  absent = _absent(said)
  if absent is not None:
    return [f'{UNFINISHED}: there is no {name(absent)}']
  found = [f'{name(p)}: {_DIFFERS}' for p in said if said[p] is None]
  if found:
    return found  # and nobody knows of the others
  want = {k: v for _, files in said.values() for k, v in files.items()}
  here = set(_files(folder))
  found += [f'{file}: is not listed' for file in here - want.keys()]
  found += [f'{file}: is missing' for file in want.keys() - here]

  def check(file):
    try:
      return None if _sha256(folder / file) == want[file] else _DIFFERS
    except OSError as e:
      return f'cannot be read: {e.strerror}'

  mine = sorted(want.keys() & here)[share::shares]
  with concurrent.futures.ThreadPoolExecutor() as pool:
    found += [
      f'{file}: {fault}'
      for file, fault in zip(mine, pool.map(check, mine))
      if fault
    ]
  return sorted(found)


def _read(folder):
  """{process: (of how many, {file: hash})}; None where bytes differ."""
  said = {}
  for path in folder.iterdir() if folder.is_dir() else ():
    match = _NAME.fullmatch(path.name)
    if match:
      said[int(match[1])] = _parse(path.read_bytes(), match[1])
  return said


def _parse(data, process):
  """A manifest, as of `_read`."""
  try:
    lines, _, last = data.decode().rpartition('# ')
  except UnicodeDecodeError:
    return None
  first = re.match(_FIRST.format(process, r'(\d+)'), lines)
  if last != f'{_hash(lines)}\n' or not first:
    return None
  files = (line.split('  ', 1) for line in lines.splitlines()[1:])
  return int(first[1]), {file: sha256 for sha256, file in files}


def _absent(said):
  """The first process that has said nothing; None if all have."""
  count = max((s[0] for s in said.values() if s), default=1)
  return next((p for p in range(count) if p not in said), None)


def _files(folder):
  """Paths in a checkpoint, '/' between parts, without the manifests."""
  paths = (
    p.relative_to(folder).as_posix()
    for p in sorted(folder.rglob('*'))
    if not p.is_dir()
  )
  return [path for path in paths if not _NAME.fullmatch(path)]


def _writer(file):
  """The process that wrote a file: its name says it, else it was the first.

  One that is writing its hashes must not appear in those of another.
  """
  found = re.search(r'process_(\d+)([/.]|$)', file)
  return int(found[1]) if found else 0


def _sha256(path):
  """Of a file, in hex."""
  with open(path, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


def _hash(lines):
  return hashlib.sha256(lines.encode()).hexdigest()
