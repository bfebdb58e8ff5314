"""Folders of strangers end in a clear error, in bounded time and memory.

Here a draw of cases; `pytest -m drill` tries 10,000 of each kind and prints
what came out.
"""

import collections
import json
import os
import resource
import shutil
import time

import numpy as np
import pytest

from tests import hostile
from tests import llava
from tests import llava_weights
from visor_jax.convert import hf
from visor_jax.convert import rehearsal
from visor_jax.families import table as families
from visor_jax.families.llava_onevision import original

SECONDS = 30  # of this process, for a case
MEMORY = 2 << 30  # bytes that the process may grow by


def config(folder, rng):
  _json(folder, rng, 'config.json')


def original_config(folder, rng):
  values = json.loads((folder / 'config.json').read_text())['text_config']
  values |= dict(
    architectures=['LlavaQwenForCausalLM'],
    model_type='llava',
    mm_vision_tower='google/tiny',
    mm_projector_type='mlp2x_gelu',
    mm_patch_merge_type='spatial_unpad',
    image_grid_pinpoints='(1x1),(6x6)',
    image_aspect_ratio='anyres_max_9',
  )
  (folder / 'config.json').write_bytes(hostile.file(rng, values))


def preprocessor(folder, rng):
  _json(folder, rng, 'preprocessor_config.json')


def header(folder, rng):
  path = folder / 'model.safetensors'
  data = path.read_bytes()
  length = int.from_bytes(data[:8], 'little')
  text = hostile.file(rng, json.loads(data[8 : 8 + length]))
  size = len(text) if rng.random() < 0.9 else int(rng.integers(2**63))
  path.write_bytes(size.to_bytes(8, 'little') + text + data[8 + length :])


def tokenizer(folder, rng):
  names = ('tokenizer.json', 'tokenizer_config.json', 'generation_config.json')
  _json(folder, rng, names[rng.integers(3)])


def template(folder, rng):
  path = folder / 'chat_template.jinja'
  path.write_text(hostile.template(rng, path.read_text()))


def _json(folder, rng, name):
  path = folder / name
  path.write_bytes(hostile.file(rng, json.loads(path.read_text())))


KINDS = (config, original_config, preprocessor, header, tokenizer, template)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp('hostile') / 'hf'
  llava.write(folder)
  original.TOWERS['tiny'] = llava_weights.VISION  # so that it may be well
  yield folder
  del original.TOWERS['tiny']


def read(folder, whole):
  """All that an import reads, and where `whole` the question in shapes too."""
  outline = hf.outline(folder)
  if whole:
    rehearsal.rehearse(outline)
    return
  processor = families.of_folder(folder).read_processor(
    folder, 'white', outline.facts.architecture.size.language.vocabulary
  )
  processor.tokenizer.prompt('What is it?', 1)
  processor.plans([(48, 64)])


def check(source, folder, kind, numbers, whole=lambda number: False):
  """{what came out: how often} of some cases."""
  outcomes, grown = (
    collections.Counter(),
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
  )
  for number in numbers:
    shutil.copytree(source, folder)
    kind(folder, np.random.default_rng([KINDS.index(kind), number]))
    start = time.process_time()
    try:
      read(folder, whole(number))
      outcomes['read'] += 1
    except (ValueError, FileNotFoundError) as e:
      assert 10 < len(str(e)) < 6000, (number, str(e)[:500])
      outcomes['refused'] += 1
    except BaseException as e:
      raise AssertionError(f'{kind.__name__} {number}') from e
    assert time.process_time() - start < SECONDS, number
    shutil.rmtree(folder)
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - grown
  assert grown * 1024 < MEMORY
  return outcomes


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_files_of_strangers_end_in_a_clear_error(kind, source, tmp_path):
  outcomes = check(source, tmp_path / 'hf', kind, range(25))
  assert outcomes['refused'] > 1, outcomes


@pytest.mark.drill
@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_files_of_strangers_end_in_a_clear_error_10000_times(
  kind, source, tmp_path
):
  outcomes = check(
    source, tmp_path / 'hf', kind, range(10_000), lambda n: n % 100 == 0
  )
  print(kind.__name__, dict(outcomes), flush=True)


@pytest.mark.parametrize(
  'name', ['config.json', 'tokenizer.json', 'model.safetensors']
)
@pytest.mark.parametrize('kind', ['link', 'fifo', 'device', 'folder'])
def test_what_is_no_file_is_an_error(kind, name, source, tmp_path):
  folder = tmp_path / 'hf'
  shutil.copytree(source, folder)
  path = folder / name
  path.unlink()
  if kind == 'link':
    path.symlink_to(path)
  elif kind == 'fifo':
    os.mkfifo(path)
  elif kind == 'device':
    path.symlink_to('/dev/zero')
  else:
    path.mkdir()
  with pytest.raises((ValueError, FileNotFoundError)) as e:
    read(folder, False)
  assert str(folder) in str(e.value)
