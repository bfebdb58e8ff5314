"""Who may know whom: the floors of the house, read off the imports.

A door in a wall is found here, not in a review. `FLOORS` is the drawing; a new
file needs a line in it.
"""

import ast
import pathlib
import re
import sys

import pytest

PACKAGE = 'visor_jax'
ROOT = pathlib.Path(__file__).parents[1]

# The longest name that fits a module decides: eval.scores before eval.
FLOORS = {
    'plan': 0, 'sizes': 0, 'chips': 0, 'flops': 0, 'config': 0, 'batch': 0,
    'budget': 0, 'reduction': 0,
    'models': 1, 'data': 1, 'convert': 1, 'report': 1, 'eval.scores': 1,
    'eval.benchmarks': 1, 'eval.choices': 1, 'eval.totals': 1, 'manifest': 1,
    'roll': 1,
    'mesh': 2, 'optim': 2, 'checkpoint': 2, 'log': 2, 'workdir': 2,
    'preempt': 2, 'cluster': 2, 'throughput': 2,
    'convert.facts': 2,
    'data.prepare': 3,  # a command, which talks
    'step': 3, 'stages': 3, 'eval.generate': 3, 'eval.run': 3,
    'eval.results': 3, 'eval.measure': 3, 'convert.hf': 3, 'convert.run': 3,
    'train': 4, 'search': 4, 'labels': 4, 'calibrate': 4, 'inference': 4,
    'evaluate': 4,
    'main': 5, 'ask': 5, 'flops.__main__': 5, 'convert.__main__': 5,
    'preflight': 5, 'benchmarks': 5, 'lmms': 5,
    'analysis': 4, 'analysis.unseen': 5,  # which trains
    'analysis.__main__': 6,  # which opens a workdir as main does
}

# (who, whom): neighbours on one floor that may speak, and why.
NEIGHBOURS = {
    # The lock says who holds it and config.json is written whole or not at
    # all; a second copy of `write_atomic` would be worse than the door.
    ('workdir', 'log'),
    # One process holds the workdir for all, and all must see the same one.
    ('workdir', 'cluster'),
    # It says which checkpoints it passes over, writes as `workdir` does, and
    # all processes must go on from the same one.
    ('checkpoint', 'log'), ('checkpoint', 'cluster'),
    # It asks whom a search and a calibration have found.
    ('evaluate', 'search'), ('evaluate', 'calibrate'),
}

# library: the only rooms that open it. A library that no line speaks of is
# free above floor 0, where only `config` has one.
DOORS = {
    'grain': ('data',),
    'tensorflow_datasets': ('data',),
    'tokenizers': ('data',),
    'jinja2': ('data',),
    'PIL': ('data',),
    'pyarrow': ('data',),
    'yaml': ('data',),
    'array_record': ('data',),
    'sklearn': ('data',),
    'scipy': ('analysis',),
    'orbax': ('checkpoint',),
    'optax': ('optim', 'step'),
    # mesh and step only unbox the metadata that linen puts around parameters.
    'flax.linen': ('models', 'mesh', 'step'),
    'absl': ('main', 'preflight'),
    'absl.flags': ('main', 'preflight'),
    # main and preflight define the flag
    'ml_collections': ('config', 'main', 'preflight'),
    'matplotlib': ('report',),
    'huggingface_hub': ('convert.hub',),
    'tensorboardX': ('log',),
    'lmms_eval': ('lmms',),
}

# (who, whom), by prefix, library or room: said apart, because it is what a
# reader asks, and because moving a room to another floor must not allow it.
NEVER = (
    ('data', 'models'), ('models', 'data'), ('data', 'jax'), ('data', 'flax'),
    ('models', 'mesh'), ('models', 'optim'), ('models', 'checkpoint'),
    ('models', 'train'), ('models.router', 'eval'), ('models.router', 'data'),
    ('eval.scores', 'jax'), ('report', 'jax'), ('eval.scores', 'flax'),
    ('report', 'flax'), ('eval.benchmarks', 'jax'), ('eval.benchmarks', 'data'),
)


def within(name, room):
  return name == room or name.startswith(room + '.')


def floor(module):
  """Of the longest name in the drawing; None for a module without one."""
  fits = [room for room in FLOORS if within(module, room)]
  return FLOORS[max(fits, key=len)] if fits else None


def room(module):
  """What counts as one's own: a folder, or all words of floor 0."""
  return 'words' if floor(module) == 0 else module.split('.')[0]


def modules(root):
  """{'models.llm': path} of every file of the package."""
  found = {}
  for path in sorted(root.rglob('*.py')):
    parts = path.relative_to(root).with_suffix('').parts
    name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
    if path.read_text().strip():  # an empty __init__ knows nobody
      found[name] = path
  return found


def imports(path):
  """Dotted names that a file imports, also inside functions."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f'{"." * node.level}{node.module or ""}.{alias.name}'
                  for alias in node.names)


def complaint(who, whom, known):
  """What is wrong with module `who` importing the dotted name `whom`."""
  if whom.startswith('.'):
    return f'{who} imports {whom}: say it from {PACKAGE} on'
  own = within(whom, PACKAGE)
  short = whom[len(PACKAGE) + 1:] if own else whom
  for a, b in NEVER:
    if within(who, a) and within(short, b):
      return f'{who} imports {short}: never {b} in {a}'
  if own:
    if short not in known:
      return f'{who} imports {whom}, a name: import the module'
    if floor(short) is None:
      return f'{who} imports {short}, which has no floor'
    if (who, short) in NEIGHBOURS or floor(short) < floor(who):
      return None
    if floor(short) == floor(who) and room(short) == room(who):
      return None
    return (f'{who} (floor {floor(who)}) imports {short} (floor '
            f'{floor(short)})')
  library = whom.split('.')[0]
  if floor(who) == 0 and library not in sys.stdlib_module_names and (
      (who, library) != ('config', 'ml_collections')):
    return f'{who} imports {library}: words know no library'
  doors = [door for door in DOORS if within(whom, door)]
  if doors:
    rooms = DOORS[max(doors, key=len)]
    if not any(within(who, r) for r in rooms):
      return f'{who} imports {whom}, whose door is {" or ".join(rooms)}'
  return None


def test_every_module_has_a_floor():
  """A file outside the drawing would be allowed everything."""
  lost = [m for m in modules(ROOT / PACKAGE) if m and floor(m) is None]
  assert not lost, f'give {lost} a floor in FLOORS'


@pytest.mark.parametrize('who', [m for m in modules(ROOT / PACKAGE) if m])
def test_a_room_imports_only_what_lies_below(who):
  """One wrong import is enough to turn the house into a heap."""
  known = set(modules(ROOT / PACKAGE)) | {
      '.'.join(p.parent.relative_to(ROOT / PACKAGE).parts)
      for p in (ROOT / PACKAGE).rglob('__init__.py')}
  said = [complaint(who, whom, known)
          for whom in imports(modules(ROOT / PACKAGE)[who])]
  assert not [s for s in said if s]


@pytest.mark.parametrize('who', ['report.page', 'report.__main__',
                                 'eval.scores', 'eval.benchmarks', 'plan',
                                 'flops', 'config'])
def test_what_a_laptop_reads_needs_no_jax_at_any_distance(who):
  """A report is drawn where there is no accelerator and no jax."""
  every, todo, seen = modules(ROOT / PACKAGE), [who], set()
  while todo:
    module = todo.pop()
    seen.add(module)
    for whom in imports(every[module]):
      assert whom.split('.')[0] not in ('jax', 'flax'), f'{module} has {whom}'
      short = whom[len(PACKAGE) + 1:]
      if within(whom, PACKAGE) and short in every and short not in seen:
        todo.append(short)
  assert len(seen) > 1 or who in ('eval.scores', 'plan')


@pytest.mark.parametrize('who,line,why', [
    ('plan', 'import numpy as np', 'words know no library'),
    ('flops', 'import ml_collections', 'words know no library'),
    ('plan', 'from visor_jax import log', r'floor 0\) imports log \(floor 2'),
    ('data.loader', 'from visor_jax.models import visor', 'never models'),
    ('models.visor', 'from visor_jax.data import chat', 'never data'),
    ('models.llm', 'def f():\n  from visor_jax import mesh', 'never mesh'),
    ('models.router', 'from visor_jax.data import digits', 'never data'),
    ('report.page', 'import jax.numpy as jnp', 'never jax'),
    ('eval.scores', 'from jax import numpy', 'never jax'),
    ('eval.scores', 'from visor_jax.eval import run', 'floor 3'),
    ('report.page', 'from visor_jax.data import digits', 'imports data'),
    ('mesh', 'from visor_jax import optim', 'imports optim'),
    ('log', 'from visor_jax import workdir', 'imports workdir'),
    ('eval.run', 'from visor_jax import step', 'imports step'),
    ('search', 'from visor_jax import train', 'imports train'),
    ('train', 'import optax', 'whose door is optim or step'),
    ('train', 'import orbax.checkpoint as ocp', 'whose door is checkpoint'),
    ('eval.run', 'import grain', 'whose door is data'),
    ('optim', 'from flax import linen as nn', 'whose door is models'),
    ('optim', 'import flax.linen', 'whose door is models'),
    ('train', 'from absl import flags', 'whose door is main'),
    ('train', 'from visor_jax.log import say', 'import the module'),
    ('models.llm', 'from . import layers', 'from visor_jax on')])
def test_what_is_forbidden_is_seen(who, line, why, tmp_path):
  """A test of walls that lets everything through would pass for ever."""
  file = tmp_path / 'x.py'
  file.write_text(line)
  known = set(modules(ROOT / PACKAGE))
  said = [complaint(who, whom, known) for whom in imports(file)]
  assert any(s and re.search(why, s) and s.startswith(who) for s in said), said


@pytest.mark.parametrize('who,line', [
    ('optim', 'from flax import traverse_util'),
    ('config', 'import ml_collections'),
    ('flops', 'from visor_jax import plan as plans'),
    ('eval.run', 'from visor_jax.eval import scores'),
    ('data.digits', 'from sklearn import datasets')])
def test_what_is_allowed_stays_allowed(who, line, tmp_path):
  """Walls where none belong would be as wrong."""
  file = tmp_path / 'x.py'
  file.write_text(line)
  known = set(modules(ROOT / PACKAGE))
  assert [complaint(who, whom, known) for whom in imports(file)] == [None]
