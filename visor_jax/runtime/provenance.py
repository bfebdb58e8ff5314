"""What a result was made with: versions of libraries, and of this code."""

import hashlib
import importlib.metadata
import pathlib
import platform


def versions() -> dict:
  """What a result was made with."""
  names = ('visor_jax', 'jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  return {'python': platform.python_version()} | {
    n: importlib.metadata.version(n) for n in names
  }


def code() -> str:
  """Twelve hex digits that change with any file of this package."""
  root, digest = pathlib.Path(__file__).parent, hashlib.sha256()
  for path in sorted(root.rglob('*.py')):
    digest.update(f'{path.relative_to(root)}\n'.encode() + path.read_bytes())
  return digest.hexdigest()[:12]
