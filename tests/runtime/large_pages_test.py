"""A process asks for large pages before it has done anything else."""

import os
import subprocess
import sys

import pytest

from visor_jax.runtime import large_pages

PROGRAM = """
import os, sys
print('starts', os.getpid(), flush=True)
from visor_jax.runtime import large_pages
large_pages.use()
print('runs', os.getpid(), os.environ.get('GLIBC_TUNABLES'), *sys.argv[1:])
"""


def lines(**env):
  """What the program prints, word by word."""
  rest = {k: v for k, v in os.environ.items() if k != 'GLIBC_TUNABLES'}
  line = [sys.executable, '-c', PROGRAM, '--a=b c', '']
  done = subprocess.run(
    line, env=rest | env, capture_output=True, text=True, check=True
  )
  return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc is there alone')
def test_the_program_starts_once_more_under_its_number_with_its_arguments():
  first, again, runs = lines()
  assert first == again == ['starts', runs[1]]
  assert runs[2:] == ['glibc.malloc.hugetlb=1', '--a=b', 'c']


@pytest.mark.parametrize('theirs', ['', 'glibc.malloc.perturb=1'])
def test_what_malloc_was_told_by_somebody_else_stays(theirs):
  first, runs = lines(GLIBC_TUNABLES=theirs)
  assert first == ['starts', runs[1]] and runs[2:-2] == theirs.split()


def test_elsewhere_nothing_happens(monkeypatch):
  monkeypatch.setattr(sys, 'platform', 'darwin')
  monkeypatch.delenv('GLIBC_TUNABLES', raising=False)
  large_pages.use()
  assert 'GLIBC_TUNABLES' not in os.environ
