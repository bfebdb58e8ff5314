"""What a result was computed with: versions of libraries, and of this code."""

import hashlib
import importlib.metadata
import pathlib
import platform

PACKAGE = pathlib.Path(__file__).parents[1]

_LIBRARIES = ('visor_jax', 'jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def versions() -> dict[str, str]:
  """Versions of Python, of this package and of what it computes with."""
  return {'python': platform.python_version()} | {
    name: importlib.metadata.version(name) for name in _LIBRARIES
  }


def code(package: pathlib.Path = PACKAGE) -> str:
  """Twelve hex digits that change with any Python file of a package."""
  digest = hashlib.sha256()
  for path in sorted(package.rglob('*.py')):
    name = path.relative_to(package)
    digest.update(f'{name}\n'.encode() + path.read_bytes())
  return digest.hexdigest()[:12]
