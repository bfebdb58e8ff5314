"""Sources that nobody would read are refused, by the name of their key."""

import pytest

from visor_jax import config as config_lib
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
