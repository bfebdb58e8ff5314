"""BUILD.md's map of the house is true."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
BUILD = (ROOT / 'BUILD.md').read_text()
MAP = re.search(r'## The map of the house\n+```\n(.*?)```', BUILD, re.S)[1]


def entries():
  """Paths that the map names: a line names files or one folder, then says."""
  folders = []
  for line in MAP.splitlines():
    depth = (len(line) - len(line.lstrip())) // 2
    names, *_ = re.split(r'  +', line.strip(), maxsplit=1)
    del folders[depth:]
    for name in names.split(', '):
      yield pathlib.Path(*folders, name)
    if names.endswith('/'):
      folders.append(names)


def test_the_map_names_what_there_is():
  missing = [str(path) for path in entries() if not (ROOT / path).exists()]
  assert not missing, f'BUILD.md has {missing}'


def test_every_module_is_on_the_map_once():
  modules = [
    path.relative_to(ROOT)
    for folder in ('visor_jax', 'launch', 'experiments', 'serving')
    for path in (ROOT / folder).rglob('*.py')
    if path.read_text().strip()  # an empty __init__ knows nothing
  ]
  files = [path for path in entries() if path.suffix == '.py']
  lost = sorted(map(str, set(modules) - set(files)))
  assert not lost, f'give {lost} a line in the map of BUILD.md'
  assert len(set(files)) == len(files)


def test_every_word_is_explained_once():
  words = re.search(r'## Words\n(.*?)\n## ', BUILD, re.S)[1]
  names = re.findall(r'^\| (\w[\w ,]*) \|', words, re.M)
  assert len(set(names)) == len(names) > 20
