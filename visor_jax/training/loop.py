"""The loop: one for every training stage."""

import functools
import pathlib
import sys
import time

import jax
import jax.numpy as jnp

from visor_jax.checkpoint import resolve
from visor_jax.checkpoint import store
from visor_jax.convert import reader
from visor_jax.data.pipeline import loader
from visor_jax.data.processing import packing
from visor_jax.models import visor
from visor_jax.reduction import grammar
from visor_jax.runtime import console
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.runtime import preempt
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans
from visor_jax.training import metrics as metrics_lib
from visor_jax.training import optim
from visor_jax.training import stages
from visor_jax.training import step as step_lib
from visor_jax.training import throughput as throughput_lib


def train(
  config, name: str, workdir, mesh, suite, viable=(), labels=(), before=None
):
  """Runs a training stage to its end, from where it was cut off if it was.

  Args:
    config: the whole config.
    name: of the stage.
    workdir: of the run.
    mesh: of mesh.make.
    suite: where records come from.
    viable: plans, for a stage that draws from them or learns to choose.
    labels: [(question, label), ...] for the policy stage.
    before: the workdir of the stages before it, where that is another one.

  Raises:
    ValueError: the stage it starts from is not finished, its own checkpoints
      are all bad, or too many steps in a row were not finite.
    SystemExit: SIGTERM came; the step is saved.
  """
  stage, options = stages.STAGES[name], config[name]
  folder = pathlib.Path(workdir) / name
  with store.Checkpoints(
    folder / 'checkpoints', config.checkpoint.keep
  ) as saved:
    start = saved.resume()
    if start == options.steps:
      console.log(f'{name}: done before')
      return
    model = step_lib.model(config, suite.packed and stage.loss == 'answer')
    shapes, shardings, make = _parameters(config, model, mesh)
    tx = optim.make(config.optim, options)
    state_shardings = _state_shardings(shapes, shardings, stage, tx, mesh)
    if start:
      console.log(f'{name}: goes on from step {start}')
      state = _resume(
        saved, start, shapes, shardings, stage, tx, state_shardings
      )
    else:
      params = _first(
        config, stage, before or workdir, shapes, shardings, make, model
      )
      trained, frozen = param_paths.split(params, stage.trains)
      opt = jax.jit(tx.init, out_shardings=state_shardings.opt)(trained)
      state = step_lib.State(trained, frozen, opt)
    compiled = functools.cache(
      lambda reduced: jax.jit(
        step_lib.train_step(
          _loss(config, model, stage, viable, reduced), tx, options.accumulate
        ),
        donate_argnums=0,
        out_shardings=(state_shardings, mesh_lib.replicated(mesh)),
      )
    )
    plan_at = _plan_at(config, stage, model.layout, viable)
    reduced_at = _reduced_at(config, stage)
    own = len(mesh_lib.local_rows(options.batch, mesh))
    throughput = throughput_lib.Throughput(
      model, stage.passes, own / options.batch
    )
    progress = console.Progress(name, options.steps)
    feed = _feed(config, stage, suite, labels, mesh, start)
    with (
      metrics_lib.Metrics(
        folder / 'metrics.jsonl',
        start,
        folder / 'tensorboard' if config.log.tensorboard else None,
      ) as metrics,
      throughput_lib.Trace(folder / 'trace', config.log.trace) as trace,
      metrics_lib.NonFiniteSteps(
        folder / 'nonfinite.jsonl',
        start,
        options.batch,
        config.optim.max_nonfinite_steps,
      ) as skipped,
      metrics_lib.InputWaitMeter() as wait,
    ):
      began, numbers = time.monotonic(), {}
      last = start  # step that is saved
      for i, (batch, labels) in enumerate(wait.batches(feed), start):
        if preempt.requested():
          skipped.check()
          if i > last:
            saved.save(i, state.params, state.opt)
          saved.wait()
          console.log(
            f'{name}: SIGTERM; the same command goes on from step {i}'
          )
          sys.exit(preempt.EXIT_CODE)
        plan, reduced = plan_at(i), reduced_at(i)
        throughput.add(batch, plan, reduced)
        rows = mesh_lib.shard_batch(batch, mesh)
        if labels is not None:
          rows = rows, mesh_lib.shard_batch(labels, mesh)
        trace.step(i, functools.partial(jax.block_until_ready, numbers))
        before, (state, numbers) = (
          numbers,
          compiled(reduced)(
            state, rows, None if plan is None else jnp.asarray(plan)
          ),
        )
        wait.busy(functools.partial(jax.block_until_ready, numbers))
        jax.block_until_ready(before)  # or batches would pile up on the device
        done = i + 1
        skipped.add(done, numbers['skipped'])
        if done % config.log.every == 0 or done in (start + 1, options.steps):
          row = {k: float(v) for k, v in jax.device_get(numbers).items()}
          row['skipped'] = skipped.take()  # of all steps since the last row
          waited = wait.share()
          said = {'input-bound' if waited > 0.1 else 'input': f'{waited:.0%}'}
          filled, rates = throughput.take()
          progress.line(done, **row, **rates, **suite.counts, **said)
          metrics.write(
            dict(
              step=done,
              **row,
              **rates,
              **filled,
              **suite.counts,
              input_wait=round(waited, 4),
              learning_rate=float(optim.schedule(options)(i)),
              seconds=round(time.monotonic() - began, 3),
            )
          )
          skipped.check()
        if done % config.checkpoint.every == 0 or done == options.steps:
          skipped.check()
          saved.save(done, state.params, state.opt)
          last = done
    saved.wait()


def restore(config, name: str, workdir, mesh):
  """Parameters of the first finished stage among `name` and its forebears.

  The base that is not trained here is the checkpoint's that a run starts from;
  all else is that of the checkpoint which is given to evaluate, if one is.

  Raises:
    ValueError: none of them is finished.
  """
  model = step_lib.model(config)
  shapes, shardings, make = _parameters(config, model, mesh)
  origin = resolve.origin(config)
  if name == 'base' and not config.base.steps and origin:
    return _imported(config, shapes, shardings, make, origin)
  if config.eval.checkpoint:
    return _imported(config, shapes, shardings, make, config.eval.checkpoint)
  found = _finished(config, (name, *stages.STAGES[name].starts_from), workdir)
  return _result(config, found, workdir, shapes, shardings)


def _feed(config, stage, suite, labels, mesh, start):
  """Batches of the stage from a step on."""
  options = config[stage.name]
  if stage.loss == 'policy':
    load = loader.labelled(suite, 'label', labels, config.seed)
  else:
    load = suite.training(stage.name)
  return loader.batches(
    load,
    options.batch,
    start,
    options.steps,
    local_rows=mesh_lib.local_rows(options.batch, mesh),
    threads=config.data.threads,
    prefetch=config.data.prefetch,
  )


def _parameters(config, model, mesh):
  """Abstract parameters, their shardings, and a function that makes them."""
  shape = batch_lib.RowShape(
    1, 1, 1, 1, model.size.vision.tile, model.size.vision.patches
  )
  blank = packing.stack(
    [packing.row([], shape)] * mesh_lib.num_batch_shards(mesh)
  )
  make, shapes, shardings = step_lib.init(model, config.seed, blank, mesh)
  return shapes, shardings, make


def _finished(config, names, workdir):
  """The first stage of `names` that this config trains, which must be done."""
  for name in names:
    if config[name].steps:
      folder = pathlib.Path(workdir) / name / 'checkpoints'
      if not (folder / str(config[name].steps)).exists():
        raise ValueError(
          f'the {name} stage is not finished ({folder} has no step '
          f'{config[name].steps}); run it first: --config=...:jobs={name}'
        )
      return name
  raise ValueError(f'none of the stages {names} has steps in this config')


def _result(config, name, workdir, shapes, shardings):
  """Parameters that a finished stage ended with."""
  with store.Checkpoints(pathlib.Path(workdir) / name / 'checkpoints') as saved:
    return saved.restore(config[name].steps, store.abstract(shapes, shardings))[
      0
    ]


def _first(config, stage, workdir, shapes, shardings, make, model):
  """Parameters that a stage starts from."""
  before = [s for s in stage.starts_from if config[s].steps]
  if before:
    found = _finished(config, before, workdir)
    console.log(f'{stage.name}: starts from {found}')
    params = _result(config, found, workdir, shapes, shardings)
  elif config.model.init_from:
    console.log(f'{stage.name}: starts from {config.model.init_from}')
    params = _imported(config, shapes, shardings, make)
  else:
    console.log(f'{stage.name}: starts fresh')
    params = make()
  if stage.grafts and config.model.cross.init == 'copy':
    params = visor.copy_cross(params, model.layout)
  return params


def _imported(config, shapes, shardings, make, path=None):
  """Parameters of a checkpoint, and fresh ones that it lacks."""
  path = path or config.model.init_from
  found = reader.read(path, shardings, 'float32').params
  flat, want = param_paths.flatten(found), param_paths.flatten(shapes)
  shape = lambda tree, path: getattr(tree.get(path), 'shape', 'nothing')
  wrong = [
    f'{k} is {shape(flat, k)}, expected {shape(want, k)}'
    for k in flat
    if shape(flat, k) != shape(want, k)
  ]
  if wrong:
    raise ValueError(
      f'checkpoint {path} does not fit '
      f'model.size {config.model.size}: ' + '; '.join(wrong)
    )
  return param_paths.unflatten(
    flat | param_paths.flatten(make(known=flat.keys()))
  )


def _state_shardings(shapes, shardings, stage, tx, mesh):
  """Shardings of a State: moments lie as their parameters do."""
  trained, frozen = param_paths.split(shardings, stage.trains)
  opt = jax.eval_shape(tx.init, param_paths.split(shapes, stage.trains)[0])

  def like(path, _):
    key = getattr(path[-1], 'key', None)  # moments are dicts of the same paths
    return trained.get(key, mesh_lib.replicated(mesh))

  return step_lib.State(
    trained, frozen, jax.tree_util.tree_map_with_path(like, opt)
  )


def _resume(saved, step, shapes, shardings, stage, tx, state_shardings):
  opt = store.abstract(
    jax.eval_shape(tx.init, param_paths.split(shapes, stage.trains)[0]),
    state_shardings.opt,
  )
  params, opt = saved.restore(step, store.abstract(shapes, shardings), opt)
  return step_lib.State(*param_paths.split(params, stage.trains), opt)


def _loss(config, model, stage, viable, reduced):
  """(params, rows, plan) -> (loss, metrics); policy's rows have labels.

  With several token reductions the mean, as M3 is trained.
  """

  def of(model, params, rows, plan):
    if stage.loss == 'policy':
      return step_lib.policy_loss(model, params, *rows, len(viable))
    return step_lib.answer_loss(
      model, params, rows, plan, config.model.loss_chunk
    )

  each = [model.with_reduction(one) for one in reduced]
  return lambda *args: jax.tree.map(
    lambda *x: sum(x) / len(x), *(of(one, *args) for one in each)
  )


def _plan_at(config, stage, layout: plans.Layout, viable):
  """step -> its plan, None for the dense base."""
  options = config[stage.name]
  if options.plan == 'base':
    return lambda i: None
  if options.plan == 'viable':
    return lambda i: plans.plan_at(config.seed, i, viable, options.max_share)
  (selection,) = plans.parse(options.plan, layout)
  return lambda i: selection.plan


def _reduced_at(config, stage):
  """step -> the token reductions that it trains with; '' is all tokens."""
  options = config[stage.name]
  # The checkpoint's word, where the config has none.
  first = resolve.architecture(config).reduction
  reduced = tuple(map(str, grammar.parse(config.model.reduce or first)))
  return lambda i: (
    reduced or ('',)
    if i >= round(options.full_token_fraction * options.steps)
    else ('',)
  )
