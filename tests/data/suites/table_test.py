"""The suite that a config names, opened with what its jobs ask for."""

import json

import PIL.Image
import pytest

from tests import llava_files
from tests import pictures
from tests.data.sources import files
from visor_jax import config as config_lib
from visor_jax.checkpoint import resolve
from visor_jax.data.prepare import writer
from visor_jax.data.processing import packing
from visor_jax.data.sources import readers
from visor_jax.data.suites import table as suites


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A checkpoint's tokenizer and recipe of images."""
  folder = tmp_path_factory.mktemp('hf')
  llava_files.write_processor(folder)
  (folder / 'config.json').write_text(json.dumps(llava_files.config()))
  return folder


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
  folder = tmp_path_factory.mktemp('desk')
  pictures.write(folder, 40)
  writer.prepare(
    readers.open_source(folder / 'train.json', folder), folder / 'shards', 1
  )
  return str(folder / 'shards')


@pytest.fixture(scope='module')
def words(tmp_path_factory):
  """Text alone; its third question is longer than any row."""
  path = tmp_path_factory.mktemp('words') / 'words.jsonl'

  def talk(question, answer):
    return [
      {'from': 'human', 'value': question},
      {'from': 'gpt', 'value': answer},
    ]

  path.write_text(
    ''.join(
      json.dumps(
        dict(
          id=f'w{i}',
          conversations=talk(
            f'Is sign {i} red? ' * (40 * (i == 2) + 1), f'Sign {i}.'
          ),
        )
      )
      + '\n'
      for i in range(9)
    )
  )
  return str(path)


@pytest.fixture
def config(folder, shards, words, tmp_path):
  (tmp_path / 'hf').symlink_to(folder)
  c = config_lib.default()
  c.model.init_from, c.data.suite = str(tmp_path), ''
  c.data.sources = (('desk', shards, 1.0),)
  c.cross.sources = (('words', words, 1.0),)
  return c


def test_jobs_open_their_own_sources(config):
  def names(*jobs):
    suite = suites.open_suite(config, jobs, config.model.init_from)
    return set(suite.fingerprints)

  assert names('cross', 'full') == {'cross/words', 'full/desk'}
  assert names('search', 'label', 'policy', 'report') == {
    'search/desk',
    'label/desk',
  }


def test_transparent_images_lie_on_what_the_config_says(config, tmp_path):
  image = PIL.Image.new('RGBA', (40, 30), (0, 0, 0, 0))
  image.save(tmp_path / 'clear.png')
  record = files.fields(1) | dict(image='clear.png')
  files.write_json(tmp_path / 'train.json', [record] * 20)
  writer.prepare(
    readers.open_source(tmp_path / 'train.json', tmp_path), tmp_path / 'out', 1
  )
  config.eval.sources = (('clear', str(tmp_path / 'out'), 1.0),)
  brightest = {}
  for ground in ('white', 'black', 'stored'):
    config.data.transparency = ground
    suite = suites.open_suite(config, ('eval',), config.model.init_from)
    row, _ = suite.prompt('test', 0)
    brightest[ground] = row['tiles'].max()
  assert brightest == dict(white=255, black=0, stored=0)


def test_questions_have_sources_of_their_own(config, shards, words):
  """The router learns from those that have labels."""
  config.search.sources = (('signs', words, 1.0),)
  config.label.sources = (('right', shards, 1.0),)
  for job, source in dict(
    search='search/signs', label='label/right', policy='label/right'
  ).items():
    suite = suites.open_suite(config, (job,), config.model.init_from)
    assert set(suite.fingerprints) == {source}


@pytest.mark.parametrize(
  'change,jobs,match',
  [
    (lambda c: c.eval, ('eval',), 'eval.sources is empty'),
    (lambda c: c.data.update(sources=()), ('full',), 'full has no data'),
    (
      lambda c: c.data.update(sources=(('x', '/no', 1.0),)),
      ('full',),
      'source "x": /no: no such file',
    ),
    (
      lambda c: c.model.update(init_from=''),
      ('full',),
      'model.init_from is ""',
    ),
  ],
)
def test_what_is_missing_is_named(config, change, jobs, match):
  change(config)
  with pytest.raises(ValueError, match=match):
    suites.open_suite(config, jobs, config.model.init_from)


def test_a_suite_that_is_not_there_is_named_with_those_that_are(config):
  config.data.suite = 'letters'
  with pytest.raises(
    ValueError, match='data.suite is "letters".*"digits", "pages", ""'
  ):
    suites.open_suite(config, (), '')


@pytest.mark.parametrize('name', ['digits', 'pages'])
def test_shapes_are_known_before_a_suite_is_opened(name, config):
  """By preflight, on a machine that has no data."""
  config.data.suite = config.model.size = name
  suite = suites.open_suite(config, ('full',), config.model.init_from)
  config.model.init_from = ''
  model = resolve.architecture(config)
  shape = suites.entry(config).training_shape(config, model)
  row, _ = suite.training('full')(0)
  want = packing.row([], shape)
  assert {name: x.shape for name, x in row.items()} == {
    name: x.shape for name, x in want.items()
  }


@pytest.mark.parametrize('name', ['digits', 'pages'])
def test_the_families_of_a_suite_are_those_that_get_labels(name, config):
  """By them a family is named that the router never sees."""
  config.data.suite = name
  families = suites.entry(config).families(config)
  suite = suites.open_suite(config, ('label',), '')
  asked = (suite.question('label', i).turns[0].family for i in range(40))
  assert set(families) == set(asked)
  for family in families:
    suite.group(family)
  with pytest.raises(ValueError, match=', '.join(families)):
    suite.group('colour')
