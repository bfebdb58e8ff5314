"""Two configs are one run if, and only if, their results must be the same."""

import json

import pytest

from visor_jax import config as config_lib
from visor_jax.runtime import identity as identity_lib


def put(config, key, value):
  *groups, name = key.split('.')
  for group in groups:
    config = config[group]
  config[name] = value


def make(**values):
  """The defaults with some keys changed; '__' stands for the dot."""
  config = config_lib.default()
  for key, value in values.items():
    put(config, key.replace('__', '.'), value)
  return config


HOW = (
  ('jobs', 'eval'),
  ('log.every', 7),
  ('mesh.data', 4),
  ('mesh.fsdp', 2),
  ('mesh.tensor', 2),
  ('checkpoint.every', 3),
  ('checkpoint.keep', 9),
  ('data.threads', 5),
  ('data.prefetch', 9),
  ('model.remat', False),
  ('model.scan', False),
  ('eval.batch', 3),
  ('eval.chunk', 5),
  ('eval.measure', False),
)
WHAT = (
  ('seed', 1),
  ('model.size', '7b'),
  ('model.cross_layers', (4,)),
  ('model.self_layers', (5,)),
  ('model.cross.rope', True),
  ('model.dtype', 'bfloat16'),
  ('model.router.hidden', 8),
  ('data.digits.frames', 3),
  ('data.pages.unseen', 'kind'),
  ('base.steps', 5),
  ('base.batch', 8),
  ('universal.max_share', 0.1),
  ('optim.clip', 0.0),
  ('optim.lr_scales', (('.*', 0.5),)),
  ('label.threshold', 0.5),
  ('policy.confidence', 0.5),
  ('eval.examples', 8),
  ('eval.plans', 'max'),
  ('search.budget', 9),
)


@pytest.mark.parametrize('key,value', HOW)
def test_how_a_run_is_done_is_not_its_identity(key, value):
  """A resume on another mesh, or logged otherwise, is the same run."""
  one, other = make(), make()
  put(other, key, value)
  assert identity_lib.identity(one) == identity_lib.identity(other)
  assert identity_lib.fingerprint(one) == identity_lib.fingerprint(other)


def test_a_connector_that_does_not_learn_is_not_of_its_identity():
  """Workdirs that are older than its stage are gone on with."""
  saved = identity_lib.identity(make(connector__batch=2))
  assert not [key for key in saved if key.startswith('connector.')]
  learns = make(connector__steps=5)
  assert 'connector.steps' in [
    d.key for d in identity_lib.differences(learns, saved)
  ]


@pytest.mark.parametrize('key,value', WHAT)
def test_what_comes_out_is_its_identity(key, value):
  """Two results under one fingerprint would be compared as equals."""
  one, other = make(), make()
  put(other, key, value)
  assert identity_lib.fingerprint(one) != identity_lib.fingerprint(other)
  (difference,) = identity_lib.differences(other, identity_lib.identity(one))
  assert difference.key == key
  assert difference.here == json.loads(json.dumps(value)) != difference.there


def test_a_key_that_only_one_side_has_is_a_difference():
  """An old workdir must not pass because a key was added since."""
  saved = identity_lib.identity(make())
  del saved['seed']
  saved['old.key'] = 3
  differences = identity_lib.differences(make(), saved)
  assert [(d.key, d.here, d.there) for d in differences] == [
    ('old.key', None, 3),
    ('seed', 0, None),
  ]


def test_data_may_move_between_two_starts_of_a_run():
  """What it holds is compared apart, see claim.check_same_data."""
  here, there = (
    make(data__sources=(('ocr', path, 0.5),)) for path in ('/a', '/b')
  )
  assert identity_lib.fingerprint(here) == identity_lib.fingerprint(there)
  for other in ((('ocr', '/a', 0.4),), (('charts', '/a', 0.5),)):
    assert identity_lib.fingerprint(here) != identity_lib.fingerprint(
      make(data__sources=other)
    )
  saved = identity_lib.identity(here)
  restored = config_lib.from_identity(saved)
  assert identity_lib.identity(restored) == saved
