"""What nobody would read is refused, by the name of its key."""

import pytest

from visor_jax import config as config_lib
from visor_jax.data.suites import table as suites
from visor_jax.jobs import sources
from visor_jax.jobs import validate
from visor_jax.training import stages

ONE = (('ocr', '/a', 1.0),)


def config(suite='', **groups):
  """The defaults, with keys of some groups changed."""
  c = config_lib.default()
  c.data.suite = suite
  for group, values in groups.items():
    c[group].update(values)
  return c


@pytest.mark.parametrize(
  'group', [group for group in sources.GROUPS if group != 'policy']
)
def test_every_group_of_sources_is_read_or_refused(group):
  given = {group: dict(sources=ONE)}
  sources.check(config(**given))
  with pytest.raises(
    ValueError, match=f"{group}.sources is read by nobody: .*data.suite=''"
  ):
    validate.validate(config(suite='digits', **given))


def test_no_group_of_sources_is_forgotten():
  c = config_lib.default()
  groups = [key for key in c if 'sources' in getattr(c[key], 'keys', list)()]
  assert sorted(groups) == sorted(sources.GROUPS)
  assert set(stages.STAGES) < set(groups)


@pytest.mark.parametrize('suite', ['', 'digits'])
def test_the_router_learns_from_the_sources_of_labels(suite):
  with pytest.raises(ValueError, match='policy.sources .* set label.sources'):
    sources.check(config(suite, policy=dict(sources=ONE)))


def test_a_path_is_no_two_sources():
  """Its records would be asked twice, and held out of nothing."""
  with pytest.raises(ValueError, match='label.sources has a path twice'):
    sources.check(config(label=dict(sources=(*ONE, ('chat', '/a', 1.0)))))


def test_benchmarks_and_test_sources_are_not_asked_both():
  with pytest.raises(
    ValueError, match='eval.sources .* asks "hard"; leave one'
  ):
    sources.check(config(eval=dict(sources=ONE, benchmarks='hard')))


@pytest.mark.parametrize(
  'values, match',
  [
    (dict(sources=ONE, coarse=('ocr', 'chat')), 'chat; eval.sources are ocr'),
    (dict(coarse=('ocr',)), 'coarse names ocr; eval.sources are none'),
  ],
)
def test_a_coarse_source_is_one_of_the_test(values, match):
  with pytest.raises(ValueError, match=match):
    sources.check(config(eval=values))


# Keys of other suites ---------------------------------------------------------

OF_SUITES = {
  'digits': {'data.digits.frames': 3, 'data.digits.primers.full': 8},
  'pages': {
    'data.pages.scale': 'large',
    'data.pages.unseen': 'typeface',
    'data.pages.primers.base': (8,),
  },
  '': {
    'data.packed.text': 96,
    'data.prompt.text': 96,
    'data.window': 64,
    'data.max_bad_fraction': 0.5,
    'data.transparency': 'black',
    'data.planners': 2,
    'eval.max_new_tokens': 8,
  },
}
SIZES = {'pages': 'pages-448'}  # of the suite as it is here


def with_key(suite, key, value):
  c = config(suite, model=dict(size=SIZES.get(suite, suite)))
  if suite == 'pages':
    c.data.pages.scale = 'large'
  *path, last = key.split('.')
  group = c
  for part in path:
    group = group[part]
  group[last] = value
  return c


@pytest.mark.parametrize('suite', OF_SUITES)
@pytest.mark.parametrize(
  'owner,key',
  [(owner, key) for owner, keys in OF_SUITES.items() for key in keys],
)
def test_keys_of_another_suite_are_read_by_nobody(suite, owner, key):
  c = with_key(suite, key, OF_SUITES[owner][key])
  if owner == suite:
    return validate.validate(c)
  with pytest.raises(
    ValueError, match=f'{key}: read by nobody, as data.suite is "{suite}"'
  ):
    validate.validate(c)


def test_every_key_that_a_suite_alone_reads_is_known():
  """A new key of data is put down as one of a suite, or of all."""
  of_all = {'suite', 'sources', 'threads', 'prefetch'}
  of_one = {
    key.split('.')[1]
    for each in suites.SUITES.values()
    for key in each.reads
    if key.startswith('data.')
  }
  assert of_all | of_one == set(config_lib.default().data)


def test_benchmarks_are_asked_in_words_whatever_the_suite():
  c = with_key('digits', 'eval.max_new_tokens', 8)
  c.eval.benchmarks = 'docvqa'
  sources.check_read(c)
