"""Sources in buckets give the records that the same files give on a disk."""

import pickle

import pytest

from tests import buckets
from tests.data.sources import files
from visor_jax.data.sources import image_paths
from visor_jax.data.sources import readers

root = buckets.root


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'disk').mkdir()
  return files.images(tmp_path / 'disk')


def test_every_kind_gives_what_it_gives_on_a_disk(root, folder):
  kinds = files.kinds(folder)
  there = buckets.upload(folder, root)
  for kind, path in kinds.items():
    here = readers.open_source(path, folder / 'images')
    source = readers.open_source(
      f'{root}/{path.relative_to(folder)}', there / 'images'
    )
    assert source.name == here.name and len(source) == len(here), kind
    assert source.fingerprint == here.fingerprint, kind
    copy = pickle.loads(pickle.dumps(source))
    assert files.read(copy) == files.read(here), kind


@pytest.mark.parametrize('root', ['s3'], indirect=True)
def test_images_stay_inside_their_folder_and_are_counted(root, folder):
  there = buckets.upload(folder, root)
  images = image_paths.Folder(there / 'images')
  assert images.read('1.jpg') == images.read(f'{root}/images/1.jpg')
  for path, reason in (
    ('../elsewhere.jpg', 'outside image'),
    ('/etc/passwd', 'outside image'),
    (f'{root}/elsewhere.jpg', 'outside image'),
    ('none.jpg', 'missing image'),
  ):
    with pytest.raises(image_paths.BadPath) as caught:
      images.read(path)
    assert caught.value.reason == reason, path


def test_what_is_not_there_is_named(root, folder):
  path = files.write_json(folder / 'a.json')
  buckets.upload(folder, root)
  with pytest.raises(FileNotFoundError, match=f'{root}/none.json'):
    readers.open_source(f'{root}/none.json')
  with pytest.raises(FileNotFoundError, match=f'{root}/none: .*images'):
    readers.open_source(path, f'{root}/none')
