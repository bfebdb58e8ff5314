"""Image paths of strangers: each is one bad record, in bounded time."""

import os
import pathlib
import socket
import time

import pytest

from tests.data.sources import encoded
from visor_jax.data.sources import image_paths
from visor_jax.data.sources import llava
from visor_jax.data.sources import records
from visor_jax.runtime import regular_files

JPEG = encoded.JPEG


@pytest.fixture
def folder(tmp_path):
  """Images inside and outside, and what is no image."""
  inside = tmp_path / 'images'
  (inside / 'sub').mkdir(parents=True)
  for path in (inside / 'a.jpg', inside / 'sub' / 'a.jpg', tmp_path / 'b.jpg'):
    path.write_bytes(JPEG)
  (inside / 'in.jpg').symlink_to('sub/a.jpg')
  (inside / 'out.jpg').symlink_to('../b.jpg')
  (inside / 'up').symlink_to('..')
  (inside / 'loop.jpg').symlink_to('loop.jpg')
  (inside / 'ring').symlink_to('ring2')
  (inside / 'ring2').symlink_to('ring')
  (inside / 'gone.jpg').symlink_to('nobody.jpg')
  (inside / 'zero.jpg').symlink_to('/dev/zero')
  os.mkfifo(inside / 'fifo.jpg')
  with open(inside / 'large.jpg', 'wb') as file:
    file.truncate(regular_files.MAX_BYTES + 1)  # takes no room
  return inside


def reason(folder, value, **options):
  """Of the BadRecord that an image makes; None where it is read."""
  images = image_paths.Folder(folder, **options)
  try:
    assert llava.encoded_images([value], images)[0] == (JPEG,)
  except records.BadRecord as e:
    assert e.reason in records.REASONS and len(e.detail) < 400
    return e.reason
  return None


@pytest.mark.parametrize(
  'value, why, outside',
  [
    ('a.jpg', None, None),
    ('sub/../a.jpg', None, None),
    ('in.jpg', None, None),
    ('{inside}/a.jpg', None, None),
    ('up/images/a.jpg', None, None),
    ('../b.jpg', 'outside image', None),
    ('{inside}/../b.jpg', 'outside image', None),
    ('out.jpg', 'outside image', None),
    ('up/b.jpg', 'outside image', None),
    ('../nobody.jpg', 'outside image', 'missing image'),
    ('/etc/hostname', 'outside image', 'broken image'),
    ('/dev/zero', 'outside image', 'special file'),
    ('/proc/self/environ', 'outside image', 'broken image'),
    ('zero.jpg', 'outside image', 'special file'),
    ('../images-too/a.jpg', 'outside image', None),
    ('loop.jpg', 'unreadable image', 'unreadable image'),
    ('ring/a.jpg', 'unreadable image', 'unreadable image'),
    ('gone.jpg', 'missing image', 'missing image'),
    ('fifo.jpg', 'special file', 'special file'),
    ('sub', 'special file', 'special file'),
    ('.', 'special file', 'special file'),
    ('large.jpg', 'large image', 'large image'),
    ('x' * 300, 'missing image', 'missing image'),
    ('x/' * 5000, 'missing image', 'missing image'),
    ('x\ud800.jpg', 'missing image', 'missing image'),
    ('a.jpg\0', 'missing image', 'missing image'),
    ('x' * 10**7, 'missing image', 'missing image'),
    (['a.jpg'] * 10**6, 'missing image', 'missing image'),
  ],
)
def test_a_path_of_a_stranger_costs_one_record(folder, value, why, outside):
  (folder.parent / 'images-too').mkdir()
  (folder.parent / 'images-too' / 'a.jpg').write_bytes(JPEG)
  if isinstance(value, str):
    value = value.replace('{inside}', str(folder))
  start = time.monotonic()
  assert reason(folder, value) == why
  assert reason(folder, value, follow_outside=True) == outside
  assert time.monotonic() - start < 2


def test_a_socket_is_no_file(folder, monkeypatch):
  monkeypatch.chdir(folder)  # the path of a socket is short
  with socket.socket(socket.AF_UNIX) as server:
    server.bind('socket.jpg')
    assert reason(folder, 'socket.jpg') == 'special file'


def test_a_file_that_nobody_may_read_is_one_bad_record(folder, monkeypatch):

  def refuse(path, most):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(regular_files, 'read', refuse)
  assert reason(folder, 'a.jpg') == 'unreadable image'


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
  (tmp_path / 'link').symlink_to(folder)
  assert reason(tmp_path / 'link', 'in.jpg') is None
  assert reason(tmp_path / 'link', f'{folder}/a.jpg') is None
  assert reason(tmp_path / 'link', 'out.jpg') == 'outside image'


def test_a_folder_may_be_relative(folder, monkeypatch):
  monkeypatch.chdir(folder.parent)
  assert reason(pathlib.Path('images'), 'a.jpg') is None
  assert reason('images', '../b.jpg') == 'outside image'


def test_many_images_are_not_held_at_once(folder, monkeypatch):
  """A record of a stranger may name one file a million times."""
  monkeypatch.setattr(regular_files, 'MAX_BYTES', 10 * len(JPEG))
  images = image_paths.Folder(folder)
  assert len(llava.encoded_images(['a.jpg'] * 10, images)[0]) == 10
  with pytest.raises(records.BadRecord, match='large image: the first 11 ima'):
    llava.encoded_images(['a.jpg'] * 10**6, images)
