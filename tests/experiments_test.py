"""Every experiment loads and validates; the large ones fit together on paper.

`eval_shape` builds a model of billions of parameters without a byte of them.
"""

import functools
import math
import pathlib
import re
import runpy

import jax
from jax import numpy as jnp
import pytest

from visor_jax import config as config_lib
from visor_jax.jobs import order
from visor_jax.jobs import validate
from visor_jax.runtime import identity as identity_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import batch as batch_lib
from visor_jax.training import losses
from visor_jax.training import model as model_lib
from visor_jax.training import optim
from visor_jax.training import stages
from visor_jax.training import step

FOLDER = pathlib.Path(__file__).parents[1] / 'experiments'
FILES = sorted(p.name for p in FOLDER.glob('*.py'))
# Parameters of Qwen2, as its checkpoints hold them, and their vocabulary.
QWEN2 = {
  '0.5b': (494_032_768, 151_936),
  '1.5b': (1_543_714_304, 151_936),
  '7b': (7_615_616_512, 152_064),
}


def load(name, arg=None):
  return runpy.run_path(str(FOLDER / name))['get_config'](arg)


@pytest.mark.parametrize('name', FILES)
def test_an_experiment_is_valid_and_locked(name):
  """It runs for hours; a typo must cost a second."""
  config = load(name)
  validate.validate(config)
  assert config.is_locked
  default = config_lib.default()
  default.connector.steps = config.connector.steps  # its keys count with steps
  assert set(identity_lib.identity(config)) == set(
    identity_lib.identity(default)
  )
  assert 'eval' in order.asked(config)


@pytest.mark.parametrize('name', FILES)
def test_an_experiment_opens_with_its_command(name):
  """What to type, before anything else."""
  text = (FOLDER / name).read_text()
  assert text.startswith('"""')
  assert f'experiments/{name}' in text.split('"""')[1]


@pytest.mark.parametrize('name', FILES)
def test_every_stage_of_an_experiment_can_be_asked_for(name):
  for job in order.asked(load(name)):
    config = load(name, f'jobs={job}')
    validate.validate(config)
    assert order.asked(config) == (job,)
    # The workdir is one for all of them.
    assert identity_lib.fingerprint(config) == identity_lib.fingerprint(
      load(name)
    )


@pytest.mark.parametrize('name', FILES)
def test_an_unknown_argument_is_an_error(name):
  with pytest.raises(ValueError, match='stages=full'):
    load(name, 'stages=full')


@pytest.mark.parametrize(
  'name,arg,expected',
  [
    ('pages.py', 'run=none', 'one of visor, dense, control'),
    ('pages.py', 'scale=foo', 'one of small, large'),
    *(
      (name, f'share={share}', 'a number above 0')
      for name in ('pages.py', 'rivals.py')
      for share in ('-1', '0', 'nan', 'inf', '1e300', 'x')
    ),
    ('digits.py', 'control=maybe', 'True or False'),
    ('qwen2_vl.py', 'size=3b', 'one of 2b, 7b, 2.5-3b, 2.5-7b, tiny'),
    ('llava_ov.py', 'size=3b', 'one of 0.5b, 1.5b, 7b, tiny'),
    ('fastvlm.py', 'size=3b', 'one of 0.5b, 1.5b, 7b, tiny'),
    ('real.py', 'size=small', 'one of full, probe'),
  ],
)
def test_an_argument_that_cannot_be_is_told_with_what_can(name, arg, expected):
  key, _, value = arg.partition('=')
  want = f'config argument "{arg}": {key} is {value!r}; expected {expected}'
  with pytest.raises(ValueError, match=re.escape(want)):
    load(name, arg)


def test_the_control_of_digits_trains_the_same_steps_without_self_layers():
  recipe, control = load('digits.py'), load('digits.py', 'control=True')
  validate.validate(control)
  for stage in ('base', 'cross', 'full', 'universal'):
    assert control[stage].steps == recipe[stage].steps
    assert control[stage].learning_rate == recipe[stage].learning_rate
  assert {control[s].plan for s in ('cross', 'full', 'universal')} == {'min'}
  assert not {'search', 'label', 'policy'} & set(order.asked(control))


def test_benchmarks_and_plans_are_arguments():
  config = load('eval.py', 'benchmarks=hard,plans=all+router')
  validate.validate(config)
  assert config.eval.benchmarks == 'hard' and config.eval.plans == 'all+router'
  assert order.asked(config) == ('eval', 'report')


def test_rivals_take_the_steps_of_visor():
  """And one learning rate at its highest; the router's steps come on top."""
  steps = {}
  for run in ('visor', 'dense', 'm3', 'tr2', 'tr4'):
    c = load('rivals.py', f'run={run}')
    validate.validate(c)
    steps[run] = sum(c[s].steps for s in stages.STAGES if s != 'policy')
  assert set(steps.values()) == {4380}
  quick, visor = load('quickstart.py'), load('rivals.py')
  assert {
    d.key for d in identity_lib.differences(visor, identity_lib.identity(quick))
  } == {'eval.plans', 'eval.reduce'}
  with pytest.raises(
    ValueError, match='run is .none.; expected one of visor, dense'
  ):
    load('rivals.py', 'run=none')


# Full size, on paper ----------------------------------------------------------


def paper_batch(model, rows=2, text=64, tiles=2, prompts=3):
  """A Batch of shapes: two tiles, one of them resized, in every row."""
  vision = model.size.vision
  visual = tiles * vision.patches
  shape = lambda dtype, *dims: jax.ShapeDtypeStruct((rows, *dims), dtype)
  ints = lambda *dims: shape(jnp.int32, *dims)
  return batch_lib.Batch(
    tokens=ints(text),
    text_segment=ints(text),
    text_place=ints(text),
    answer=shape(jnp.bool_, text),
    visual_segment=ints(visual),
    visual_place=ints(visual),
    tiles=shape(jnp.uint8, tiles, *vision.tile, 3),
    tile_grid=ints(tiles, 2),
    gather_index=ints(visual, 4),
    gather_weight=shape(jnp.float32, visual, 4),
    prompt_segment=ints(prompts),
    prompt_place=ints(prompts),
  )


def paper_model(size):
  """The configured model, its abstract parameters on a mesh, a batch."""
  model = model_lib.build(load('llava_ov.py', f'size={size}'))
  shapes = model_lib.abstract_params(
    model, mesh_lib.make(data=2, fsdp=2, tensor=2)
  )
  return model, shapes, paper_batch(model)


@pytest.fixture(scope='module', params=list(QWEN2))
def full_size(request):
  return request.param, *paper_model(request.param)


def count(tree):
  return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def test_parameters_are_as_many_as_published(full_size):
  """A width or a bias that is wrong would show only with real weights."""
  size, model, shapes, _ = full_size
  published, vocabulary = QWEN2[size]
  language = model.size.language
  rest = language.vocabulary - vocabulary  # ours is padded
  embeddings = 1 if language.tied else 2
  decoder = {k: v for k, v in shapes['llm'].items() if k != 'cross'}
  assert count(decoder) == published + rest * embeddings * language.width
  vision = count(shapes['vision'])
  assert abs(vision / 397e6 - 1) < 0.01  # SigLIP-SO400M less its last layer
  # What VISOR adds is small: CROSS layers, and hardly any router.
  assert abs(count(shapes) / (published + 0.4e9) - 1) < 0.05
  assert count(shapes['router']) < 1e6


def test_parameters_are_spread_over_fsdp_and_tensor(full_size):
  """On 2 x 2 x 2 devices the decoder is in quarters, or it would not fit."""
  _, _, shapes, _ = full_size
  held = sum(
    jax.tree.leaves(
      jax.tree.map(
        lambda x: math.prod(x.sharding.shard_shape(x.shape)), shapes['llm']
      )
    )
  )
  assert held < 0.26 * count(shapes['llm'])


@pytest.mark.parametrize('plan', ['base', 'max'])
def test_a_train_step_fits_together(full_size, plan):
  """Shapes and dtypes of the whole step, gradients and optimizer included."""
  size, model, shapes, batch = full_size
  config = load('llava_ov.py', f'size={size}')
  bits = None if plan == 'base' else jnp.asarray(model.layout.max)
  tx = optim.make(config.optim, config.full)
  trained, frozen = param_paths.split(shapes, stages.STAGES['full'].trains)
  state = step.State(trained, frozen, jax.eval_shape(tx.init, trained))
  act = step.train_step(functools.partial(losses.answer_loss, model), tx)
  new, metrics = jax.eval_shape(act, state, losses.Examples(batch), bits)
  like = lambda x: (x.shape, x.dtype)
  assert jax.tree.map(like, new) == jax.tree.map(like, state)
  assert like(metrics['loss']) == ((), jnp.float32)
