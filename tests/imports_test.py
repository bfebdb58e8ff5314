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
  # What everybody speaks of: plain Python.
  'spec': 0,
  'families': 0,
  **{
    f'families.*.{name}': 0
    for name in ('record', 'sizes', 'costs', 'config', 'recipe')
  },
  'families.*.original': 0,
  'families.*.preprocessor': 0,
  'runtime.json_fields': 0,
  'runtime.regular_files': 0,
  # Rooms, and the files and console that all of them may use.
  'runtime.files': 1,
  'runtime.paths': 1,
  'runtime.checksums': 1,
  'runtime.console': 1,
  'runtime.command': 1,
  'runtime.errors': 1,
  'runtime.retry': 1,
  'runtime.lock': 1,
  'runtime.lease': 1,
  'runtime.preempt': 1,
  'runtime.roll_call': 1,
  'runtime.gathering': 1,
  'runtime.peers': 1,
  'runtime.param_paths': 1,
  'runtime.identity': 1,
  'models.compute': 1,
  'models.params': 1,
  'models.positions': 1,
  'models.sharding': 1,
  'reduction': 2,
  'models': 3,
  'flops': 3,
  'data': 2,
  'benchmarks': 2,
  'report': 2,
  'convert': 2,
  'families.*': 4,
  'families.processor': 4,
  'families.wrapped': 4,
  'families.resized': 4,
  'families.pruned': 4,
  # Machinery.
  'checkpoint.manifest': 2,
  'checkpoint.steps': 2,
  'runtime': 4,
  'benchmarks.questions': 4,
  'benchmarks.suite': 4,
  'training.feature_table': 4,
  'training.feeds': 4,
  'training.inputs': 4,
  'training.losses': 4,
  'training.stage': 4,
  'training.stages': 4,
  'training.targets': 4,
  'checkpoint': 5,
  'convert.hf': 6,
  'convert.folders': 8,
  'convert.rehearsal': 8,
  'convert.reader': 6,
  'convert.real': 9,
  'training': 6,
  'eval': 7,
  'config': 7,
  # Acts.
  'training.loop': 7,
  'training.weights': 7,
  'inference': 8,
  'preflight': 10,
  'jobs': 9,
  # Doors.
  '__main__': 10,
  'main': 10,
  'ask': 10,
  'lmms': 10,
  'flops.__main__': 10,
  'convert.__main__': 10,
  'benchmarks.__main__': 10,
  'analysis': 10,
  'analysis.__main__': 11,
  'serve': 11,
  'serve.limits': 10,
  'serve.__main__': 12,
}

# (who, whom): neighbours on one floor that may speak, and why.
NEIGHBOURS: set[tuple[str, str]] = set()

# Plain Python though they stand higher: no library, no jax at any distance.
PLAIN = ('flops', 'reduction.grammar', 'reduction.table')

# Sources that are copied to where there is no visor_jax, and run there.
TORCH = 'torch'  # their folders

# library: the only rooms that open it. A library that no line speaks of is
# free above floor 0, where there is none.
DOORS = {
  'grain': ('data',),
  'tensorflow_datasets': ('data',),
  'tokenizers': ('data', 'convert.real.smollm2'),
  'gguf': ('convert.real.smollm2',),
  'onnx': ('convert.real.dinov2',),
  'jinja2': ('data',),
  'PIL': ('data', 'families', 'convert.rehearsal'),
  'pyarrow': ('data',),
  'yaml': ('data',),
  'array_record': ('data',),
  'sklearn': ('data',),
  'easy_vqa': ('data',),
  'scipy': ('analysis',),
  'orbax': ('checkpoint',),
  'etils': ('checkpoint.orbax_paths',),
  'upath': ('runtime.paths',),
  'fsspec': ('checkpoint.orbax_paths',),
  'jax._src': ('runtime.jax_private',),
  'optax': ('training.optim', 'training.step', 'training.losses'),
  # They only unbox the metadata that linen puts around parameters.
  'flax.linen': ('models', 'families', 'runtime.mesh', 'training.model'),
  'absl': ('main', 'preflight'),
  'absl.flags': ('main', 'preflight'),
  'matplotlib': ('report',),
  'huggingface_hub': ('convert.hub',),
  'tensorboardX': ('training.metrics',),
  'wandb': ('training.metrics',),
  'lmms_eval': ('lmms',),
  'starlette': ('serve',),
  'uvicorn': ('serve',),
  'prometheus_client': ('serve',),
  'torch': (),
  'transformers': (),
}

# (who, whom), by prefix, library or room: said apart, because it is what a
# reader asks, and because moving a room to another floor must not allow it.
NEVER = (
  ('data', 'models'),
  ('models', 'data'),
  ('data', 'jax'),
  ('data', 'flax'),
  ('models', 'runtime'),
  ('models', 'training'),
  ('models', 'checkpoint'),
  ('checkpoint', 'convert'),
  ('models.router', 'eval'),
  ('models.router', 'benchmarks'),
  ('benchmarks.scores', 'jax'),
  ('report', 'jax'),
  ('benchmarks.scores', 'flax'),
  ('report', 'flax'),
  ('benchmarks.table', 'jax'),
  ('benchmarks.table', 'data'),
)


def within(name, room):
  return name == room or name.startswith(room + '.')


def floor(module):
  """Of the longest name in the drawing; None for a module without one."""
  if of_family(module):  # all families are built alike
    module = 'families.*' + module[len(of_family(module)) :]
  fits = [room for room in FLOORS if within(module, room)]
  return FLOORS[max(fits, key=len)] if fits else None


def of_family(module):
  """'families.NAME' of what is in the folder of a family, else ''."""
  parts = module.split('.')
  return '.'.join(parts[:2]) if parts[0] == 'families' and parts[2:] else ''


def room(module):
  """What counts as one's own: a folder, or all words of floor 0."""
  return 'words' if floor(module) == 0 else module.split('.')[0]


def modules(root):
  """{'models.llm': path} of every file of the package."""
  paths = {}
  for path in sorted(root.rglob('*.py')):
    parts = path.relative_to(root).with_suffix('').parts
    name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
    if TORCH in parts[:-1]:
      continue
    if path.read_text().strip():  # an empty __init__ knows nobody
      paths[name] = path
  return paths


def imports(path, lazy=True):
  """Dotted names that a file imports, where `lazy` also inside functions.

  What only a type checker imports is left out.
  """
  todo = [ast.parse(path.read_text())]
  while todo:
    node = todo.pop()
    if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test):
      continue
    if lazy or not isinstance(node, ast.FunctionDef):
      todo += ast.iter_child_nodes(node)
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (
        f'{"." * node.level}{node.module or ""}.{alias.name}'
        for alias in node.names
      )


def complaint(who, whom, known):
  """What is wrong with module `who` importing the dotted name `whom`."""
  if whom.startswith('.'):
    return f'{who} imports {whom}: say it from {PACKAGE} on'
  inside = within(whom, PACKAGE)
  short = whom[len(PACKAGE) + 1 :] if inside else whom
  for a, b in NEVER:
    if within(who, a) and within(short, b):
      return f'{who} imports {short}: never {b} in {a}'
  if inside:
    if short not in known:
      return f'{who} imports {whom}, a name: import the module'
    if floor(short) is None:
      return f'{who} imports {short}, which has no floor'
    if of_family(short) and short != f'{of_family(short)}.record':
      # From outside a family is asked by its record, which imports lazily.
      if of_family(who) != of_family(short):
        return f'{who} imports {short}: ask families.table'
      if who == f'{of_family(who)}.record':
        return None
    if (who, short) in NEIGHBOURS or floor(short) < floor(who):
      return None
    if floor(short) == floor(who) and room(short) == room(who):
      return None
    return f'{who} (floor {floor(who)}) imports {short} (floor {floor(short)})'
  library = whom.split('.')[0]
  plain = floor(who) == 0 or any(within(who, room) for room in PLAIN)
  if plain and library not in sys.stdlib_module_names:
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
    for p in (ROOT / PACKAGE).rglob('__init__.py')
  }
  complaints = [
    complaint(who, whom, known)
    for whom in imports(modules(ROOT / PACKAGE)[who])
  ]
  assert not [text for text in complaints if text]


@pytest.mark.parametrize(
  'who',
  [
    'report.page',
    'report.__main__',
    'benchmarks.scores',
    'benchmarks.table',
    'spec.plan',
    'flops.cost',
  ],
)
def test_what_a_laptop_reads_needs_no_jax_at_any_distance(who):
  """A report is drawn where there is no accelerator and no jax."""
  every, todo, seen = modules(ROOT / PACKAGE), [who], set()
  while todo:
    module = todo.pop()
    seen.add(module)
    for whom in imports(every[module], lazy=False):
      assert whom.split('.')[0] not in ('jax', 'flax'), f'{module} has {whom}'
      short = whom[len(PACKAGE) + 1 :]
      if within(whom, PACKAGE) and short in every and short not in seen:
        todo.append(short)
  assert len(seen) > 1 or who in ('benchmarks.scores', 'spec.plan')


def test_what_runs_elsewhere_needs_torch_and_transformers_alone():
  files = sorted((ROOT / PACKAGE).rglob(f'{TORCH}/*.py'))
  assert files
  beside = {f'.{file.stem}' for file in files}
  libraries = {'torch', 'transformers', *sys.stdlib_module_names}
  for file in files:
    for whom in imports(file):
      library = whom.split('.')[0]
      known = library in libraries or whom.rpartition('.')[0] in beside
      assert known, f'{file.name} imports {whom}'


def test_what_others_serve_with_needs_nothing_of_ours():
  files = sorted((ROOT / 'serving').rglob('*.py'))
  assert files
  for file in files:
    assert not [whom for whom in imports(file) if within(whom, PACKAGE)], file


@pytest.mark.parametrize(
  'who,line,why',
  [
    ('spec.plan', 'import numpy as np', 'words know no library'),
    ('flops.cost', 'import ml_collections', 'words know no library'),
    (
      'spec.plan',
      'from visor_jax.runtime import console',
      r'floor 0\) imports runtime.console \(floor 1',
    ),
    (
      'data.pipeline.loader',
      'from visor_jax.models import visor',
      'never models',
    ),
    (
      'models.visor',
      'from visor_jax.data.processing import packing',
      'never data',
    ),
    (
      'models.decoder',
      'def f():\n  from visor_jax.runtime import mesh',
      'never runtime',
    ),
    ('models.router', 'from visor_jax.data.suites import digits', 'never data'),
    ('report.page', 'import jax.numpy as jnp', 'never jax'),
    ('benchmarks.scores', 'from jax import numpy', 'never jax'),
    ('benchmarks.scores', 'from visor_jax.eval import run', 'floor 7'),
    ('report.page', 'from visor_jax.data.suites import digits', 'imports data'),
    (
      'runtime.mesh',
      'from visor_jax.training import optim',
      'imports training.optim',
    ),
    (
      'runtime.console',
      'from visor_jax.runtime import claim',
      'imports runtime.claim',
    ),
    (
      'eval.run',
      'from visor_jax.training import loop',
      'imports training.loop',
    ),
    ('jobs.search', 'from visor_jax import main', 'imports main'),
    ('training.loop', 'import optax', 'whose door is training.optim'),
    (
      'training.loop',
      'import orbax.checkpoint as ocp',
      'whose door is checkpoint',
    ),
    ('eval.run', 'import grain', 'whose door is data'),
    (
      'runtime.cluster',
      'from jax._src import distributed',
      'whose door is runtime.jax_private',
    ),
    ('training.optim', 'from flax import linen as nn', 'whose door is models'),
    ('training.optim', 'import flax.linen', 'whose door is models'),
    ('training.loop', 'from absl import flags', 'whose door is main'),
    (
      'training.loop',
      'from visor_jax.runtime.console import say',
      'import the module',
    ),
    ('models.decoder', 'from . import layers', 'from visor_jax on'),
  ],
)
def test_what_is_forbidden_is_seen(who, line, why, tmp_path):
  """A test of walls that lets everything through would pass for ever."""
  file = tmp_path / 'x.py'
  file.write_text(line)
  known = set(modules(ROOT / PACKAGE))
  complaints = [complaint(who, whom, known) for whom in imports(file)]
  assert any(
    text and re.search(why, text) and text.startswith(who)
    for text in complaints
  ), complaints


@pytest.mark.parametrize(
  'who,line',
  [
    ('training.optim', 'from flax import traverse_util'),
    ('config', 'import ml_collections'),
    ('flops.cost', 'from visor_jax.spec import plan as plans'),
    ('eval.run', 'from visor_jax.benchmarks import scores'),
    ('data.suites.digits', 'from sklearn import datasets'),
  ],
)
def test_what_is_allowed_stays_allowed(who, line, tmp_path):
  """Walls where none belong would be as wrong."""
  file = tmp_path / 'x.py'
  file.write_text(line)
  known = set(modules(ROOT / PACKAGE))
  assert [complaint(who, whom, known) for whom in imports(file)] == [None]
