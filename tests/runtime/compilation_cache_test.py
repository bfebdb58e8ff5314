"""Where compiled programs are kept."""

import os
import pathlib
import subprocess
import sys

from visor_jax.runtime import compilation_cache


def folder_of(path, **variables):
  """Where jax keeps programs, of a process of its own."""
  code = (
    'import jax; from visor_jax.runtime import compilation_cache as cache; '
    f'cache.use({str(path)!r}); print(jax.config.jax_compilation_cache_dir)'
  )
  return subprocess.run(
    [sys.executable, '-c', code],
    text=True,
    stdout=subprocess.PIPE,
    env=os.environ | variables,
  ).stdout.strip()


def test_compiled_programs_are_kept_for_this_kind_of_host(tmp_path):
  """And where jax was told another place, there."""
  folder = tmp_path / 'compiled'
  first = folder_of(folder)
  assert pathlib.Path(first).parent == folder and first == folder_of(folder)
  assert folder_of(folder, JAX_COMPILATION_CACHE_DIR='/else') == '/else'


def test_programs_lie_beside_a_checkpoint_or_where_the_user_caches(
  tmp_path, monkeypatch
):
  monkeypatch.setenv('VISOR_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setattr(compilation_cache, 'use', lambda folder: None)
  monkeypatch.setattr(compilation_cache.jax.config, 'update', lambda *_: None)
  beside = compilation_cache.use_beside(tmp_path)
  assert beside == tmp_path / 'compiled'
  elsewhere = tmp_path / 'cache' / 'compiled'
  assert compilation_cache.use_beside('org/name-on-the-hub') == elsewhere
  assert compilation_cache.use_beside('gs://bucket/run') == elsewhere
  monkeypatch.setattr(os, 'access', lambda path, mode: False)  # root may write
  assert compilation_cache.use_beside(tmp_path) == elsewhere
