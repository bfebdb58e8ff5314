"""The room's own floors: who may import whom inside of data."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2] / 'visor_jax'

# The longest name that fits a module decides.
FLOORS = {
  'data.sources.records': 0,
  'data.processing.processed': 0,
  'data.fits': 0,
  'data.protocols': 1,
  'data.pool': 1,
  'data.sources': 2,
  'data.processing': 3,
  'data.pipeline': 4,
  'data.suites': 5,
  'data.prepare': 6,
  'data.tfds_builder': 6,
}
DEEPEST = 5  # modules, one importing the next


def modules():
  """{'data.suites.digits': path}."""
  return {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts): path
    for path in sorted((ROOT / 'data').rglob('*.py'))
    if path.read_text().strip()
  }


@functools.cache
def imports(module):
  """The modules of data that one imports."""
  names = set()
  for node in ast.walk(ast.parse(modules()[module].read_text())):
    if isinstance(node, ast.ImportFrom):
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return {m for m in modules() if f'visor_jax.{m}' in names}


def floor(module):
  rooms = [r for r in FLOORS if module == r or module.startswith(f'{r}.')]
  return FLOORS[max(rooms, key=len)]


@functools.cache
def depth(module):
  return 1 + max(map(depth, imports(module)), default=0)


@pytest.mark.parametrize('module', modules())
def test_a_module_of_data_imports_its_own_floor_or_lower_ones(module):
  above = [m for m in imports(module) if floor(m) > floor(module)]
  assert not above, f'{module} is on floor {floor(module)}'


def test_no_import_reaches_deeper_than_five_modules():
  """A reader who opens any file of the room is five files from its ground."""
  deepest = max(modules(), key=depth)
  assert depth(deepest) == DEEPEST, deepest
