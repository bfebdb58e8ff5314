"""A wrong value is an error that names its key, before anything is built."""

import re

import pytest

from visor_jax import config as config_lib
from visor_jax.jobs import key_values
from visor_jax.jobs import validate


def put(config, key, value):
  *path, last = key.split('.')
  for part in path:
    config = config[part]
  config[last] = value


def make(**values):
  """The defaults with some keys changed; '__' stands for the dot."""
  c = config_lib.default()
  for key, value in values.items():
    put(c, key.replace('__', '.'), value)
  return c


def test_the_defaults_are_valid_of_a_model_of_their_suite():
  validate.validate(make(model__size='digits'))


@pytest.mark.parametrize(
  'size,keys,words',
  [
    # As many pixels as four tiles have, and patches that divide them.
    (
      'pages',
      dict(suite='pages', pages__scale='large'),
      ['with data.pages.scale "large" has tiles of 32 x 448', 'to pages-448'],
    ),
    (
      'pages-448',
      dict(suite='pages'),
      ['with data.pages.scale "small" has tiles of 16 x 128', 'to pages,'],
    ),
    ('digits', dict(suite='pages'), ['"digits" reads', '40 x 16', 'to pages,']),
    ('pages', dict(suite='digits'), ['data.suite "digits" has', 'to digits']),
    ('', dict(suite='digits'), ['model.size ""', 'to digits']),
    ('qwen2-vl-2b', dict(suite='pages'), ['"qwen2-vl-2b" reads', 'to pages,']),
  ],
)
def test_a_model_sees_the_tiles_of_its_suite(size, keys, words):
  keys = {f'data__{key}': value for key, value in keys.items()}
  with pytest.raises(ValueError) as e:
    validate.validate(make(model__size=size, **keys))
  assert '\n' not in str(e.value)
  for word in ('data.suite', 'model.size', *words):
    assert word in str(e.value)


@pytest.mark.parametrize('key', list(key_values.CHOICES))
def test_a_choice_that_does_not_exist_names_key_and_choices(key):
  c = make()
  put(c, key, 'nonsense')
  with pytest.raises(
    ValueError, match=f"{re.escape(key)}.*'nonsense'.*not one"
  ) as e:
    validate.validate(c)
  for choice in key_values.CHOICES[key]:
    assert repr(choice) in str(e.value)


@pytest.mark.parametrize('key', key_values.SHARES.all_keys())
@pytest.mark.parametrize('value', [-0.01, 1.01])
def test_a_share_lies_between_0_and_1(key, value):
  c = make()
  put(c, key, value)
  with pytest.raises(ValueError, match=rf'{re.escape(key)} is .*0 and 1'):
    validate.validate(c)


@pytest.mark.parametrize('key', key_values.SHARES.all_keys())
def test_a_share_is_a_finite_number(key):
  c = make()
  put(c, key, float('nan'))
  with pytest.raises(ValueError, match=f'{re.escape(key)} is nan, no finite'):
    validate.validate(c)


@pytest.mark.parametrize(
  'key', (*key_values.COUNTS.all_keys(), 'model.router.hidden')
)
@pytest.mark.parametrize('value', [0, -1])
def test_a_count_is_at_least_1(key, value):
  c = make()
  put(c, key, value)
  with pytest.raises(ValueError, match=rf'{re.escape(key)} is {value}'):
    validate.validate(c)


@pytest.mark.parametrize('key', key_values.NOT_NEGATIVE.all_keys())
def test_what_is_never_negative_is_at_least_0(key):
  c = make()
  put(c, key, -1)
  with pytest.raises(ValueError, match=rf'{re.escape(key)} is -1.*at least 0'):
    validate.validate(c)


PRIMERS = [
  f'data.{suite}.primers.{stage}'
  for suite, group in config_lib.default().data.items()
  if 'primers' in getattr(group, 'keys', list)()
  for stage in group.primers
]


@pytest.mark.parametrize('key', PRIMERS)
def test_primers_are_counted(key):
  c, counts = make(), (-5,)
  if 'digits' in key:
    counts = -5
  put(c, key, counts)
  with pytest.raises(ValueError, match=f'{re.escape(key)} is .*-5.*at least 0'):
    validate.validate(c)


@pytest.mark.parametrize(
  'counts', [(1,) * 13, ('3', 1), (1.5,), (True,), (None,), ((1, 2),)]
)
def test_pages_have_a_count_for_each_primer_at_most(counts):
  key = 'data__pages__primers__full'
  with pytest.raises(ValueError) as e:
    validate.validate(make(**{key: counts}))
  assert repr(counts) in str(e.value) and 'each of the 12 primers' in str(
    e.value
  )


@pytest.mark.parametrize(
  'values,words',
  [
    (dict(base__steps=-1), ['base.steps', '-1']),
    (dict(model__size='2b'), ['model.size', '2b', '0.5b']),
    (dict(jobs='train'), ['train', 'universal']),
    (dict(log__writers='jsonl+csv'), ['log.writers', 'csv', 'tensorboard']),
    (dict(jobs='base'), ['base.steps']),
    (dict(base__plan='max'), ['base.plan', 'max']),
    (dict(full__plan='mx'), ['mx', 'positions']),
    (dict(full__plan='max+min'), ['full.plan', 'max+min', 'one plan']),
    (dict(full__plan='router'), ['full.plan', 'router']),
    (dict(search__max_plans=1), ['search.max_plans', '2']),
    (dict(eval__plans='mx'), ['mx', 'router']),
    (dict(eval__plans='8'), ['8', 'counted from 0']),
    (
      dict(eval__plans='router@0.3+router@0.001'),
      ['router@0.001', 'cheapest plan takes at least'],
    ),
    (dict(eval__plans='router@99'), ['router@99', 'at most 1.5']),
    (dict(eval__plans='base+router-1.5'), ['router-1.5', 'from 0 to 1']),
    (dict(seed=2**63), ['seed', '2**63']),
    (
      dict(label__examples=3, label__held_out=0.1),
      ['label.held_out', 'leaves 3'],
    ),
    (
      dict(label__examples=3, label__held_out=0.9),
      ['label.held_out', '0 to learn'],
    ),
    (dict(policy__without=('ocr',)), ['policy.without', "'ocr'", 'families']),
    (
      dict(
        policy__without=('a',),
        data__suite='',
        label__sources=(('a', '/a', 1.0),),
      ),
      ['policy.without', 'not all', 'are a'],
    ),
    (
      dict(model__cross__init='copy', model__cross__module='mine'),
      ['model.cross.init', 'zero'],
    ),
    # Impossible layouts: 0.5b has layers 0 to 23.
    (dict(model__cross_layers=(24,)), ['model.cross_layers', '24', '23']),
    (dict(model__self_layers=(-1,)), ['model.self_layers', '-1']),
    (dict(model__cross_layers=(2,)), ['model.cross_layers', 'layer 2']),
    (dict(model__cross_layers=(1, 1)), ['model.cross_layers', 'layer 1']),
    (dict(model__cross_layers=()), ['model.cross_layers', 'empty']),
    (dict(model__self_layers=()), ['model.self_layers']),
    (dict(model__self_layers=(0, 2)), ['model.self_layers', 'router']),
  ],
)
def test_what_cannot_be_is_said_in_a_sentence(values, words):
  """The words a reader needs: the key, what was given, what is expected."""
  with pytest.raises(ValueError) as e:
    validate.validate(make(**values))
  for word in words:
    assert word in str(e.value)


@pytest.mark.parametrize(
  'key,value,why',
  [
    ('policy.confidence', 5.0, 'is 5.0; expected a number from 0 to 1'),
    ('policy.confidence', -1.0, 'is -1.0; expected'),
    ('policy.confidence', float('nan'), 'is nan, no finite number'),
    ('optim.lr_scales', (('(', 1.0),), r'has "\(", no regular expression'),
    ('optim.lr_scales', (('.*', -1.0),), 'has -1.0 for .* not negative'),
    ('optim.lr_scales', (('.*', float('inf')),), 'has inf for "'),
    ('optim.lr_scales', (('.*', '1'),), "has '1' for"),
    ('optim.weight_decay_mask', (('[', True),), 'has ".", no regular'),
    ('optim.weight_decay_mask', (('.*', 0.5),), 'has 0.5 .*True or False'),
  ],
)
def test_a_value_of_a_kind_of_its_own_is_checked(key, value, why):
  c = make()
  put(c, key, value)
  with pytest.raises(ValueError, match=f'{re.escape(key)} {why}'):
    validate.validate(c)


# Sources ---------------------------------------------------------------------


@pytest.mark.parametrize('key', ['data', 'eval', 'cross', 'policy'])
@pytest.mark.parametrize(
  'sources,match',
  [
    (('ocr', '/a', 1.0), "has 'ocr'; expected"),
    ((('ocr', '/a'),), r"has \('ocr', '/a'\); expected"),
    ((('ocr', '/a', 0),), 'weight above 0'),
    ((('ocr', '/a', '1'),), 'weight'),
    ((('ocr', '/a', 1), ('ocr', '/b', 1)), 'name twice: ocr, ocr'),
  ],
)
def test_a_source_is_a_name_a_path_and_a_weight(key, sources, match):
  with pytest.raises(ValueError, match=f'{key}.sources.*{match}'):
    validate.validate(make(**{f'{key}__sources': sources}))
