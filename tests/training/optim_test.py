"""What a step changes: which parameters, at which rate, how far."""

import math
import types

from flax import linen as nn
import jax
from jax import numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np
import optax
from optax import contrib
import pytest

from tests import rows
from tests.runtime import mesh_test
from visor_jax import config as config_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import plan as plans
from visor_jax.training import optim
from visor_jax.training import stages

PARAMS = {
  'vision': {'kernel': jnp.ones((2, 3))},
  'llm': {'layers': {'up': jnp.ones(3)}, 'cross': {'up': jnp.ones(3)}},
}


def stage(**values):
  return types.SimpleNamespace(
    **dict(steps=100, learning_rate=1.0, warmup=0.1, end_lr_fraction=0.0)
    | values
  )


def options(**values):
  return types.SimpleNamespace(
    **dict(
      name='adamw',
      b1=0.9,
      b2=0.98,
      mu_dtype='float32',
      weight_decay=0.0,
      weight_decay_mask=config_lib.default().optim.weight_decay_mask,
      clip=0.0,
      lr_scales=(('.*', 1.0),),
    )
    | values
  )


@pytest.fixture(scope='module')
def paths():
  """Every parameter of a model, by path."""
  model = rows.tiny(plans.visor(3), vision_depth=1, tied=False)
  batch = rows.batch(('tvp',), shape=rows.Shape(2, 1, 1, 1))
  shapes = nn.unbox(
    jax.eval_shape(
      lambda: model.init(jax.random.key(0), batch, method='init_all')['params']
    )
  )
  return param_paths.flatten(shapes)


@pytest.mark.parametrize(
  'name,inside,outside',
  [
    (
      'base',
      ('vision', 'connector', 'llm/layers', 'llm/embedding'),
      ('router', 'llm/cross'),
    ),
    ('cross', ('llm/cross',), ('vision', 'connector', 'router', 'llm/layers')),
    ('full', ('vision', 'llm/layers', 'llm/cross', 'connector'), ('router',)),
    ('universal', ('vision', 'llm/layers', 'llm/cross'), ('router',)),
    ('policy', ('router',), ('vision', 'connector', 'llm')),
  ],
)
def test_a_stage_trains_what_it_says_and_keeps_no_state_of_the_rest(
  paths, name, inside, outside
):
  """Adam's moments of frozen weights would triple the memory of `cross`."""
  learn, frozen = param_paths.split(
    param_paths.unflatten(paths), stages.STAGES[name].trains
  )
  assert learn.keys() | frozen.keys() == paths.keys()
  assert not learn.keys() & frozen.keys()
  for prefix in inside:
    mine = [p for p in paths if p.startswith(prefix)]
    assert mine and all(p in learn for p in mine)
  for prefix in outside:
    mine = [p for p in paths if p.startswith(prefix)]
    assert mine and all(p in frozen for p in mine)
  state = jax.eval_shape(
    optim.make(config_lib.default().optim, config_lib.default()[name]).init,
    learn,
  )

  def sizes(tree):
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))

  counters = 2 * 2  # of Adam and of the schedule, each at most twice
  assert sizes(state) <= 2 * sizes(learn) + counters
  adam = next(
    s
    for s in jax.tree.leaves(
      state, is_leaf=lambda s: isinstance(s, optax.ScaleByAdamState)
    )
    if isinstance(s, optax.ScaleByAdamState)
  )
  assert adam.mu.keys() == adam.nu.keys() == learn.keys()


def test_the_schedule_rises_to_its_peak_and_falls_to_its_end():
  """Warm-up in a straight line, then half a cosine."""
  rate = optim.schedule(stage(learning_rate=2.0, end_lr_fraction=0.1))
  at = [float(rate(i)) for i in range(101)]
  np.testing.assert_allclose(at[:11], np.linspace(2 / 11, 2, 11), atol=1e-6)
  assert max(at) == at[10] == pytest.approx(2.0)
  assert all(a >= b for a, b in zip(at[10:], at[11:]))
  assert at[55] == pytest.approx((2.0 + 0.2) / 2, rel=1e-5)
  assert at[100] == pytest.approx(0.2, rel=1e-5)


@pytest.mark.parametrize(
  'values',
  [dict(steps=1), dict(steps=2, warmup=0.0), dict(steps=3, warmup=1.0)],
)
def test_the_schedule_of_a_short_stage_is_finite(values):
  rate = optim.schedule(stage(**values))
  at = [float(rate(i)) for i in range(values['steps'] + 1)]
  assert all(0 <= a <= 1 for a in at) and max(at) == 1


def updates(options, steps=3, **values):
  """The sum of some updates by gradients of one."""
  tx, params = optim.make(options, stage(**values)), param_paths.flatten(PARAMS)
  state, grads = tx.init(params), jax.tree.map(jnp.ones_like, params)
  for _ in range(steps):
    change, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, change)
  return {k: np.asarray(v - 1) for k, v in params.items()}


def test_rates_scale_the_steps_of_their_paths():
  """The paper's vision tower learns at a fifth of the rate."""
  change = updates(
    options(lr_scales=(('vision/.*', 0.2), ('.*cross.*', 0.0), ('.*', 1.0)))
  )
  # Adam's step on a constant gradient is the rate itself: 1, 2 and 3 / 11.
  np.testing.assert_allclose(change['llm/layers/up'], -6 / 11, rtol=1e-3)
  np.testing.assert_allclose(change['vision/kernel'], -1.2 / 11, rtol=1e-3)
  assert not change['llm/cross/up'].any()


def test_rates_that_leave_a_path_out_are_an_error():
  with pytest.raises(ValueError, match='llm/cross/up'):
    updates(options(lr_scales=(('vision/.*', 1.0),)))


def test_the_mean_of_gradients_may_be_bfloat16():
  rough = options(mu_dtype='bfloat16')
  params = param_paths.flatten(PARAMS)
  _, (adam, *_), *_ = optim.make(rough, stage()).init(params)
  assert {x.dtype for x in adam.mu.values()} == {jnp.dtype('bfloat16')}
  assert {x.dtype for x in adam.nu.values()} == {jnp.dtype('float32')}
  change, exact = updates(rough), updates(options())
  for path, x in change.items():
    assert x.dtype == 'float32'
    np.testing.assert_allclose(x, exact[path], rtol=2**-7)
    assert (x != exact[path]).any()


def test_weight_decay_pulls_towards_zero_at_the_rate():
  more = updates(options(weight_decay=0.1))
  less = updates(options())
  assert all((more[k] < less[k]).all() for k in more)


def test_neither_norms_nor_biases_decay(paths):
  """Those of a stack have as many axes as matrices have."""
  params = {path: jnp.ones((1,) * x.ndim) for path, x in paths.items()}
  tx = optim.make(options(weight_decay=0.1), stage())
  still = {path: jnp.zeros_like(x) for path, x in params.items()}
  change, _ = tx.update(still, tx.init(params), params)
  decayed = {path for path, x in change.items() if np.any(x)}
  kept = params.keys() - decayed
  assert kept == {p for p in params if 'norm' in p or p.endswith('bias')}
  assert {'vision/patch', 'llm/embedding', 'llm/layers/mlp/up'} <= decayed


def test_a_mask_says_what_decays(paths):
  mask = (('llm/.*', True), ('.*', False))
  change = updates(options(weight_decay=0.1, weight_decay_mask=mask))
  plain = updates(options())
  assert (change['llm/cross/up'] < plain['llm/cross/up']).all()
  np.testing.assert_array_equal(change['vision/kernel'], plain['vision/kernel'])


def test_the_global_norm_is_clipped_over_all_paths():
  """A clip per path would bend the gradient."""
  params = param_paths.flatten(PARAMS)
  grads = {
    k: 100.0 * (i + 1) * jnp.ones_like(v)
    for i, (k, v) in enumerate(params.items())
  }
  tx = optim.make(options(clip=1.0, b1=0.0), stage())
  _, state = tx.update(grads, tx.init(params), params)
  adam = next(
    s
    for s in jax.tree.leaves(
      state, is_leaf=lambda s: isinstance(s, optax.ScaleByAdamState)
    )
    if isinstance(s, optax.ScaleByAdamState)
  )
  assert float(optax.global_norm(adam.mu)) == pytest.approx(1.0, rel=1e-5)


SOME = (
  'connector/in',
  'llm/embedding',
  'llm/layers/attention/query',
  'llm/layers/attention/out',
  'llm/layers/mlp/up',
  'llm/norm/scale',
)


def of_matrices(paths, steps, tx):
  """The last update of some steps, by random gradients of some parameters."""
  rng = np.random.default_rng(0)
  draw = lambda path: jnp.float32(rng.standard_normal(paths[path].shape))
  params = {path: draw(path) for path in SOME}
  state = tx.init(params)
  for _ in range(steps):
    grads = {path: draw(path) for path in SOME}
    change, state = jax.jit(tx.update)(grads, state, params)
  return change


def test_matrices_of_layers_are_muons_and_the_rest_is_adams(paths):
  """As optax has it where a tree says which is which."""
  ours = of_matrices(paths, 2, optim.make(options(name='muon'), stage()))
  adams = of_matrices(paths, 2, optim.make(options(), stage()))
  pairs = param_paths.by_path(optim.MATRICES, paths)
  axes = {
    path: pair and contrib.MuonDimensionNumbers(*pair)
    for path, pair in pairs.items()
    if path in SOME
  }
  muon = contrib.muon(
    optim.schedule(stage()),
    beta=optim.MUON_BETA,
    consistent_rms=optim.MUON_RMS,
    muon_weight_dimension_numbers=axes,
  )
  muons = of_matrices(paths, 2, muon)
  for path, x in ours.items():
    expected = (muons if pairs[path] else adams)[path]
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
  muons = {path for path, pair in pairs.items() if pair}
  rest = paths.keys() - muons
  assert not any('bias' in path or 'norm' in path for path in muons)
  assert {p for p in rest if 'bias' not in p and 'norm' not in p} == {
    'connector/newline',
    'llm/cross/conv',
    'llm/embedding',
    'llm/head',
    'router/down',
    'router/token',
    'router/up',
    'vision/patch',
    'vision/position',
  }


def test_a_matrix_moves_alike_in_all_directions(paths):
  """And as far as with Adam, whatever its gradient."""
  change = of_matrices(paths, 1, optim.make(options(name='muon'), stage()))
  up = np.asarray(change['llm/layers/mlp/up'])
  wide = np.linalg.svd(up, compute_uv=False) / max(up.shape[1:]) ** 0.5
  rate = float(optim.schedule(stage())(0))
  assert (0.6 * optim.MUON_RMS * rate < wide).all()
  assert (wide < 1.3 * optim.MUON_RMS * rate).all()


def test_muon_decays_and_scales_what_adam_does(paths):
  scales = (('vision/.*', 0.0), ('.*', 1.0))
  tx = optim.make(
    options(name='muon', weight_decay=0.1, lr_scales=scales), stage()
  )
  some = (*SOME, 'vision/layers/up')
  params = {path: jnp.ones(paths[path].shape) for path in some}
  still = jax.tree.map(jnp.zeros_like, params)
  change, _ = tx.update(still, tx.init(params), params)
  moved = {path for path, x in change.items() if np.any(x)}
  assert {'llm/layers/mlp/up', 'llm/embedding'} <= moved
  assert not any(p.startswith('vision/') or 'norm' in p for p in moved)


def test_a_matrix_that_is_spread_moves_as_one_that_is_whole(paths):
  """Over devices of two axes, as weights are under fsdp and tensor."""
  mesh = mesh_test.mesh_of((1, 2, 2))
  path, tx = 'llm/layers/mlp/up', optim.make(options(name='muon'), stage())
  grad = np.float32(np.random.default_rng(0).normal(size=paths[path].shape))
  changes = []
  for spec in (PartitionSpec(), PartitionSpec(None, 'fsdp', 'tensor')):
    params = {path: jax.device_put(grad, NamedSharding(mesh, spec))}
    change, _ = jax.jit(tx.update)(params, tx.init(params), params)
    changes.append(np.asarray(change[path]))
  np.testing.assert_allclose(*changes, rtol=1e-3, atol=1e-5)
