"""A disk that fails at random, for processes that tests start."""

import errno
import os
import pathlib
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).with_suffix('.c')
CALLS = ('read', 'write', 'sync', 'rename')


class Disk:
  """Has calls on checkpoints beneath a folder fail.

  Attributes:
    log: a file with a line for each call that failed.

  Args:
    folder: the checkpoints' workdir.
    library: folder for the compiled library.
  """

  def __init__(self, folder, library):
    if not shutil.which('gcc'):
      pytest.skip('a disk that fails is compiled by gcc')
    self.log = pathlib.Path(library) / 'faults'
    self._folder = folder
    self._library = pathlib.Path(library) / 'faulty_disk.so'
    command = ['gcc', '-shared', '-fPIC', '-O1', SOURCE, '-o', self._library]
    subprocess.run([*command, '-ldl'], check=True)

  def env(self, share, seed, calls=CALLS, number=errno.EIO):
    """The environment of a process in which a share of calls fails."""
    return os.environ | {
      'LD_PRELOAD': str(self._library),
      'FAULTS_FOLDER': str(self._folder),
      'FAULTS_CALLS': ','.join(calls),
      'FAULTS_SHARE': str(share),
      'FAULTS_SEED': str(seed),
      'FAULTS_ERRNO': str(number),
      'FAULTS_LOG': str(self.log),
    }

  def faults(self):
    """{call: how often it failed}."""
    lines = self.log.read_text().split() if self.log.exists() else []
    return {call: lines.count(call) for call in sorted({*lines})}
