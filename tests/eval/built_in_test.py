"""The test of a run, question by question."""

import json

import numpy as np
import pytest

from visor_jax import config as config_lib
from visor_jax.data.suites import digits
from visor_jax.data.suites import processor
from visor_jax.eval import built_in
from visor_jax.runtime import checksums
from visor_jax.runtime import identity
from visor_jax.spec import workdir


def fill(folder, **data):
  """Leaves the config of a run."""
  config = config_lib.default()
  config.seed, config.model.size = 3, 'digits'
  config.data.update(data)
  path = workdir.Workdir(folder).config
  checksums.write(path, json.dumps(identity.identity(config)))
  return folder


def test_a_run_has_the_questions_that_its_eval_job_asks(tmp_path):
  tests = built_in.of_run(fill(tmp_path, suite='digits', digits=dict(frames=2)))
  test, (_, want) = tests.test(17), digits.Suite(3, 2).prompt('test', 17)
  assert (test.question, test.gold) == (
    want.turns[0].question,
    want.turns[0].answer,
  )
  read = processor.of_suite(tests.suite)
  image = read.open_image(test.picture)
  assert image.height >= 256  # for a person's eyes
  (tiles,) = read.tiles([image], [image.size])
  np.testing.assert_array_equal(tiles, want.images)
  assert processor.png(want.images, image.width // 16) == test.picture
  assert test.grade(test.gold)['verdict'] == 'right'
  assert test.grade('hm')['verdict'] == 'wrong'


def test_what_has_no_test_questions_is_told(tmp_path):
  with pytest.raises(ValueError, match='is not the workdir of a run'):
    built_in.of_run(tmp_path)
  with pytest.raises(ValueError, match='"", which is not built in'):
    built_in.of_run(fill(tmp_path, suite=''))
  with pytest.raises(ValueError, match='-1: they are numbered from 0 on'):
    built_in.of_run(fill(tmp_path, suite='pages')).test(-1)
