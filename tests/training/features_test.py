"""What the router reads of questions is made once, and is what it was."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import runs
from tests import tiny
from visor_jax.data.processing import packing
from visor_jax.data.suites import table as suites
from visor_jax.models import router
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.runtime import preempt
from visor_jax.spec import architecture
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import features
from visor_jax.training import feeds
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import loop
from visor_jax.training import losses
from visor_jax.training import optim
from visor_jax.training import program as program_lib
from visor_jax.training import stages
from visor_jax.training import step as step_lib
from visor_jax.training import targets

STEPS = 6
VIABLE = ((False,), (True,))
LABELS = [
  dict(index=i, label=i % 2, scores=[1 - i % 2, 1], flops=[4, 9 + i])
  for i in range(0, 40, 2)
]


def make(folder, token='learned', loss='reward', **options):
  """What the policy stage of a run is given that trains nothing before it."""
  config = tiny.get_config()
  for stage in stages.STAGES:
    config[stage].steps = STEPS * (stage == 'policy')
  config.checkpoint.every, config.log.every = 2, 1
  config.label.examples = 48
  with config.ignore_type():
    config.model.router.token = token
  config.policy.update(options, loss=loss)
  return inputs_lib.Inputs(
    config,
    workdir_lib.Workdir(folder),
    mesh_lib.make(devices=jax.devices()[:1]),
    suites.open_suite(config, ('label',), ''),
    VIABLE,
    targets.TARGETS[loss](LABELS, config.policy.budget_of),
  )


def build(inputs):
  """The stage's program, and parameters of which none is zero or idle."""
  program = program_lib.build(
    inputs.config, 'policy', inputs.mesh, viable=VIABLE
  )
  rng = np.random.default_rng(0)
  params = {
    path: rng.standard_normal(x.shape).astype(np.float32) / 4
    for path, x in param_paths.flatten(program.params).items()
  }
  trained, frozen = param_paths.split(
    param_paths.unflatten(params), program.stage.trains
  )
  opt = optim.Multipliers(np.float32(0.5), np.float32(0.05))
  return program, step_lib.State(trained, frozen, opt)


@pytest.mark.parametrize(
  'token,loss',
  [*zip(architecture.ROUTER_TOKENS, ('reward', 'labels', 'reward'))],
)
def test_loss_and_gradients_are_those_of_prompts(token, loss, tmp_path):
  """To float32's rounding: XLA fuses another program otherwise."""
  inputs = make(tmp_path, token, loss)
  program, state = build(inputs)
  table = features.keep(program, state, inputs)
  numbers, labels = zip(*inputs.labels[:8])
  labels = np.stack(labels)
  loss_of = program.stage.loss(inputs.config, VIABLE)
  prompts = [feeds.prompt(inputs.suite, number) for number in numbers]

  @jax.jit
  def gradients(state, examples):
    def of_trained(trained):
      params = state._replace(trained=trained).params
      params |= optim.multipliers(state.opt)
      return loss_of(program.model, params, examples, None)

    return jax.value_and_grad(of_trained, has_aux=True)(state.trained)

  (want, _), want_grads = gradients(
    state, losses.Examples(packing.stack(prompts), labels)
  )
  (got, _), grads = gradients(
    state,
    losses.FeatureExamples(table.stack([*map(table.read, numbers)]), labels),
  )
  assert abs(float(got) - float(want)) < 1e-6 < abs(float(want))
  for path, grad in grads.items():
    np.testing.assert_allclose(grad, want_grads[path], atol=1e-6, err_msg=path)
  used = {path for path, grad in grads.items() if np.abs(grad).max() > 1e-4}
  assert used == {
    path for path in grads if token == 'learned' or path != 'router/token'
  }


@pytest.fixture(scope='module')
def compiled(tmp_path_factory):
  """The stage's program, whose step is compiled once for all runs of it."""
  program, _ = build(make(tmp_path_factory.mktemp('compiled')))
  return lambda *given: program


@pytest.fixture(scope='module')
def alone(compiled, tmp_path_factory):
  """A run that nobody disturbed."""
  folder = tmp_path_factory.mktemp('alone')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(program_lib, 'build', compiled)
    loop.train('policy', make(folder))
  return runs.final(folder, 'policy', STEPS)


def test_a_stage_learns_as_from_prompts(alone, tmp_path, capsys):
  """Features that would take too much are computed at each step: it says so."""
  inputs = make(tmp_path, features_gb=1e-9)
  loop.train('policy', inputs)
  assert not inputs.workdir.features('policy').exists()
  assert 'features_gb=1e-09: each is computed 2.4 times' in (
    capsys.readouterr().out
  )
  for path, x in runs.final(tmp_path, 'policy', STEPS).items():
    np.testing.assert_allclose(alone[path], x, atol=1e-6, err_msg=path)


def contents(folder):
  return {
    file.name: (file.stat().st_mtime_ns, file.read_bytes())
    for file in folder.glob('*/*.bin')
  }


def test_it_goes_on_behind_the_last_whole_file(
  alone, compiled, tmp_path, monkeypatch
):
  """Bitwise to the same end, also from between two steps, with their price."""
  monkeypatch.setattr(program_lib, 'build', compiled)
  inputs = make(tmp_path)
  asked = iter([False, False, True, *[False] * 4, True])
  monkeypatch.setattr(preempt, 'requested', lambda: next(asked, False))
  with pytest.raises(SystemExit) as left:
    loop.train('policy', inputs)
  assert left.value.code == preempt.EXIT_CODE
  before = contents(inputs.workdir.features('policy'))
  assert before.keys() == {'0-8.bin', '8-16.bin'}
  with pytest.raises(SystemExit):
    loop.train('policy', inputs)
  prices = [
    value
    for path, value in runs.final(tmp_path, 'policy', 3).items()
    if 'price' in path
  ]
  assert len(prices) == 1 and prices[0] > 0
  loop.train('policy', inputs)
  after = contents(inputs.workdir.features('policy'))
  assert before.items() <= after.items() and '16-20.bin' in after
  runs.same(alone, runs.final(tmp_path, 'policy', STEPS))


def test_only_what_is_its_own_and_whole_is_read(tmp_path, capsys):
  """Files of other weights or labels go; a torn one is made again."""
  inputs = make(tmp_path)
  program, state = build(inputs)
  folder = inputs.workdir.features('policy')

  def keep(**changes):
    table = features.keep(
      program,
      changes.pop('state', state),
      dataclasses.replace(inputs, **changes),
    )
    assert [p for p in folder.iterdir()] == [table.folder]
    return contents(folder)

  first = keep()
  assert keep() == first
  torn = next(folder.glob('*/8-16.bin'))
  torn.write_bytes(torn.read_bytes()[:-1] + b'?')
  again = keep()
  assert again['8-16.bin'][1] == first['8-16.bin'][1]
  assert again['0-8.bin'] == first['0-8.bin']
  assert '8-16.bin is not what was written' in capsys.readouterr().out
  frozen = {path: x * (1 + 1e-6) for path, x in state.frozen.items()}
  other = keep(state=state._replace(frozen=frozen))
  assert other['0-8.bin'][1] != first['0-8.bin'][1]
  assert 'removed' in capsys.readouterr().out
  assert keep(labels=inputs.labels[:4]).keys() == {'0-4.bin'}


def test_a_bfloat16_prompt_comes_back(tmp_path):
  inputs = make(tmp_path)
  inputs.config.model.dtype = 'bfloat16'
  program, state = build(inputs)
  table = features.keep(program, state, inputs)
  back = table.stack([table.read(number) for number in table.numbers])
  assert isinstance(back, router.Prompts)
  assert {x.dtype.name for x in jax.tree.leaves(back.caches)} == {'bfloat16'}
  made = features._features(
    program.model,
    state.params,
    features._stacking(program, inputs)(
      [feeds.prompt(inputs.suite, number) for number in table.numbers[:8]]
    ),
  )
  for got, want in zip(jax.tree.leaves(back), jax.tree.leaves(made)):
    np.testing.assert_array_equal(got[:8], want)
