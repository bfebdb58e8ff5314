"""What a user gets who installs a wheel and has no clone."""

import pathlib
import re
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# As `python -m build` does it, without an environment of its own.
BUILD = (
  'import sys; from setuptools import build_meta; '
  'getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2])'
)


def build(what, source, folder):
  """The file that setuptools makes of a source tree."""
  folder.mkdir()
  subprocess.run(
    [sys.executable, '-c', BUILD, what, folder],
    cwd=source,
    check=True,
    capture_output=True,
  )
  (file,) = folder.iterdir()
  return file


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """The source distribution of this tree, unpacked."""
  folder = tmp_path_factory.mktemp('source')
  shutil.copytree(
    ROOT,
    folder / 'clone',
    ignore=shutil.ignore_patterns(
      '.git', '*.egg-info', '__pycache__', 'build', 'dist', 'runs', '.*_cache'
    ),
  )
  sdist = build('sdist', folder / 'clone', folder / 'dist')
  shutil.unpack_archive(sdist, folder)
  (unpacked,) = folder.glob('visor_jax-*')
  return unpacked


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
  """The wheel that is made of the source distribution."""
  return build('wheel', source, tmp_path_factory.mktemp('wheel') / 'dist')


def files(*folders):
  """Paths in this tree, of all files but what Python and tools leave."""
  return {
    path.relative_to(ROOT).as_posix()
    for folder in folders
    for path in (ROOT / folder).rglob('*')
    if path.is_file() and '__pycache__' not in path.parts
  }


def test_the_source_distribution_holds_the_whole_tree(source):
  expected = files(
    'visor_jax', 'experiments', 'launch', 'serving', 'tests', 'docs', '.ci'
  )
  for pattern in ('*.md', '*.py', '*.toml', 'CITATION.cff', 'constraints.txt'):
    expected |= {path.name for path in ROOT.glob(pattern)}
  missing = sorted(name for name in expected if not (source / name).exists())
  assert not missing


def test_a_wheel_holds_what_the_readme_runs(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = set(archive.namelist())
  share = {f'visor_jax/share/{f}' for f in files('experiments', 'launch')}
  expected = files('visor_jax') | share
  assert 'visor_jax/py.typed' in expected
  packaged = {name for name in names if '.dist-info/' not in name}
  assert packaged == expected
  assert any(name.endswith('.dist-info/licenses/LICENSE') for name in names)


def test_metadata_says_licence_and_command(wheel):
  with zipfile.ZipFile(wheel) as archive:
    texts = {
      pathlib.PurePath(name).name: archive.read(name).decode()
      for name in archive.namelist()
      if '.dist-info/' in name
    }
  assert 'License-Expression: Apache-2.0\n' in texts['METADATA']
  assert '# visor_jax\n' in texts['METADATA']  # the README, for an index
  assert 'visor-jax = visor_jax.__main__:main' in texts['entry_points.txt']


def test_one_version_stands_everywhere(source):
  metadata = (source / 'PKG-INFO').read_text()
  version = re.search('^Version: (.+)$', metadata, re.M)[1]
  assert f'\nversion: {version}\n' in (ROOT / 'CITATION.cff').read_text()
  changes = (ROOT / 'CHANGELOG.md').read_text()
  assert re.findall(r'^## \[(\d.+)\]', changes, re.M)[0] == version


def test_the_constraints_pin_every_library_that_is_asked_for(source):
  """Else a check would run on whatever version is the newest."""
  pins = dict(
    line.lower().split('==')
    for line in (ROOT / 'constraints.txt').read_text().splitlines()
    if not line.startswith('#')
  )
  asked = re.findall(
    r'^Requires-Dist: ([\w-]+)[^;\n]*(?:; extra == "test")?$',
    (source / 'PKG-INFO').read_text(),
    re.M,
  )
  normal = {name.replace('_', '-') for name in pins}
  assert {name.lower().replace('_', '-') for name in asked} <= normal


@pytest.mark.drill
def test_a_wheel_runs_in_an_empty_environment(wheel, tmp_path):
  """Installs every library anew: minutes, and a package index."""
  venv.create(tmp_path / 'env', with_pip=True)
  tools = tmp_path / 'env' / 'bin'

  def run(command, *arguments):
    return subprocess.run(
      [tools / command, *arguments],
      cwd=tmp_path,
      env={'PATH': f'{tools}:/usr/bin:/bin', 'JAX_PLATFORMS': 'cpu'},
      check=True,
      text=True,
      stdout=subprocess.PIPE,
    ).stdout

  run('pip', 'install', '-q', wheel, '-c', ROOT / 'constraints.txt')
  assert run('visor-jax') == run('python', '-m', 'visor_jax')
  cost = ('--size=0.5b', '--image=640x480', '--text=60')
  assert 'base' in run('python', '-m', 'visor_jax.flops', *cost)
  share = pathlib.Path(run('visor-jax', 'where').strip())
  assert share.is_relative_to(tmp_path / 'env')
  tiny = [f'--config={share}/experiments/quickstart.py', '--workdir=runs/tiny']
  tiny += [
    f'--config.{stage}.steps=2'
    for stage in ('base', 'cross', 'full', 'universal', 'policy')
  ]
  tiny += [f'--config.{job}.examples=16' for job in ('search', 'label', 'eval')]
  tiny += ['--config.label.all_wrong=cheapest']
  run('visor-jax', 'main', *tiny)
  assert (tmp_path / 'runs/tiny/report/index.html').exists()
  # And as several processes.
  local = (share / 'launch' / 'local.py', '--processes=2', '--devices=1', '--')
  two = [f'{tiny[0]}:jobs=base', '--workdir=runs/two', *tiny[2:]]
  run('python', *local, *two)
  assert list((tmp_path / 'runs/two/base/checkpoints').iterdir())
