"""Keys, the arguments of experiments, and the jobs that a config asks for."""

import pytest

from visor_jax import config as config_lib
from visor_jax.checkpoint import resolve


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


@pytest.mark.parametrize(
  'key',
  [
    'sed',
    'model.sizes',
    'model.cross.heads',
    'model.router.width',
    'mesh.expert',
    'data.digits.frame',
    'optim.beta',
    'universal.share',
    'policy.keeps',
    'search.n',
    'label.n',
    'eval.n',
    'checkpoint.n',
    'log.n',
  ],
)
def test_an_unknown_key_is_an_error(key):
  """A typo in a sweep must not silently run the default."""
  with pytest.raises((AttributeError, KeyError), match=key.split('.')[-1]):
    put(config_lib.default(), key, 1)


@pytest.mark.parametrize(
  'key,value',
  [
    ('seed', 'one'),
    ('model.size', 5),
    ('model.scan', 'yes'),
    ('base.steps', 1.5),
    ('mesh.fsdp', '8'),
    ('optim.clip', 'x'),
  ],
)
def test_a_value_of_another_type_is_an_error(key, value):
  """steps=1.5 would fail only when the loop reaches it."""
  with pytest.raises(TypeError, match=key.split('.')[-1]):
    put(config_lib.default(), key, value)


def test_layout_is_the_one_asked_for():
  c = make(model__cross_layers=(0, 5), model__self_layers=(7, 3))
  shape = resolve.architecture(c).layout
  assert shape.optional == (3, 7) and shape.indices('cross') == (0, 5)
  assert len(shape.kinds) == 24


# Arguments behind the colon ---------------------------------------------------


def parse(arg):
  return config_lib.parse_arg(
    arg, jobs='all', n=1, rate=0.5, flag=False, run=('short', 'long')
  ).to_dict()


def test_parse_arg_reads_a_value_as_the_type_of_its_default():
  want = dict(jobs='all', n=1, rate=0.5, flag=False, run='short')
  assert parse(None) == parse('') == want
  assert parse('n=3,flag=1,jobs=a+b,rate=2,run=long') == dict(
    jobs='a+b', n=3, rate=2.0, flag=True, run='long'
  )
  assert parse('flag=0')['flag'] is False  # bool('0') would be True
  assert parse('jobs=a=b')['jobs'] == 'a=b'


@pytest.mark.parametrize(
  'arg,words',
  [
    ('steps=3', ['steps=3', 'jobs, n, rate, flag']),
    ('n=x', ['n=x', "n is 'x'; expected a whole number above 0"]),
    ('n=1.5', ['expected a whole number']),
    ('n=0', ["n is '0'; expected a whole number above 0"]),
    ('n=100001', ['at most 100,000']),
    ('n', ['expected a whole number']),
    ('flag=yes', ["flag is 'yes'; expected True or False"]),
    ('rate=', ["rate is ''; expected a number above 0"]),
    ('rate=-1', ["rate is '-1'; expected a number above 0"]),
    ('rate=0', ['expected a number above 0']),
    ('rate=nan', ['expected a number above 0']),
    ('rate=inf', ['expected a number above 0, at most']),
    ('run=middling', ["run is 'middling'; expected one of short, long"]),
    ('run=', ["run is ''; expected one of short, long"]),
    ('n=1 steps=2', ['expected a whole number']),
  ],
)
def test_parse_arg_says_what_is_wrong(arg, words):
  with pytest.raises(ValueError) as e:
    parse(arg)
  for word in words:
    assert word in str(e.value)
