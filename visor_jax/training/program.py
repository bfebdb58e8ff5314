"""A stage's train step: what it takes and gives, and the step itself.

The loop runs it, preflight compiles it, and whoever restores parameters takes
their shapes from it; so there is one train step and not several that agree.
"""

from collections.abc import Collection
from collections.abc import Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import ml_collections
import numpy as np

from visor_jax.checkpoint import resolve
from visor_jax.data.processing import packing
from visor_jax.data.suites import table as suites
from visor_jax.models import visor
from visor_jax.reduction import grammar
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import plan as plans
from visor_jax.training import losses
from visor_jax.training import model as model_lib
from visor_jax.training import optim
from visor_jax.training import stage as stage_lib
from visor_jax.training import stages
from visor_jax.training import step as step_lib
from visor_jax.training import targets

ALL_TOKENS = ('',)  # the token reductions of a step that has none


@dataclasses.dataclass(frozen=True, eq=False)
class TrainProgram:
  """One stage's train step.

  Attributes:
    stage: what trains, with which loss.
    config: the whole config.
    model: that learns.
    optimizer: of the parameters that train.
    mesh: devices that it runs on.
    viable: plans by cost.
    params: nested shapes of all parameters, each with its sharding.
    state: shapes of what a step takes and gives, likewise.
  """

  stage: stage_lib.Stage
  config: ml_collections.ConfigDict
  model: visor.Visor
  optimizer: optim.Optimizer
  mesh: Mesh
  viable: tuple[plans.Plan, ...]
  params: param_paths.Params
  state: step_lib.State

  @property
  def options(self) -> ml_collections.ConfigDict:
    """The config of the stage."""
    return self.config[self.stage.name]

  def init_params(self, known: Collection[str] = ()) -> param_paths.Params:
    """Fresh parameters on the mesh, nested, but those of the known paths."""
    return model_lib.init_params(self.model, self.config.seed, self.mesh, known)

  def init_state(self, params: param_paths.Params) -> step_lib.State:
    """The state before the first step, with these parameters."""
    trained, frozen = param_paths.split(params, self.stage.trains)
    init = jax.jit(
      self.optimizer.init, out_shardings=_shardings(self.state.opt)
    )
    return step_lib.State(trained, frozen, init(trained))

  def plan(self, step: int) -> plans.Plan | None:
    """The plan of a step, None for the dense base; by seed and step alone."""
    if self.options.plan == 'viable':
      return plans.plan_at(
        self.config.seed, step, self.viable, self.options.max_share
      )
    (selection,) = plans.parse(self.options.plan, self.model.layout)
    return selection.plan

  def reductions(self, step: int) -> tuple[str, ...]:
    """The token reductions that a step trains with, '' for all tokens."""
    configured = self.config.model.reduce or self.model.architecture.reduction
    first = round(self.options.full_token_fraction * self.options.steps)
    if step < first or not configured:
      return ALL_TOKENS
    return tuple(map(str, grammar.parse(configured)))

  @functools.cached_property
  def steps(self) -> dict[tuple[str, ...], jax.stages.Wrapped]:
    """The jitted step by its token reductions: one, or with all tokens two."""
    last = max(self.options.steps - 1, 0)
    return {
      reductions: self._jit(reductions)
      for reductions in (self.reductions(0), self.reductions(last))
    }

  def _jit(self, reductions: Sequence[str]) -> jax.stages.Wrapped:
    loss = losses.mean_over_reductions(
      self.stage.loss(self.config, self.viable), reductions
    )
    return jax.jit(
      step_lib.train_step(
        functools.partial(loss, self.model),
        self.optimizer,
        self.options.accumulate,
      ),
      donate_argnums=0,
      out_shardings=(_shardings(self.state), mesh_lib.replicated(self.mesh)),
    )

  def run(
    self,
    step: int,
    state: step_lib.State,
    examples: losses.Examples | losses.FeatureExamples,
  ) -> tuple[step_lib.State, losses.Metrics]:
    """Runs a step; the old state is gone.

    Args:
      step: its number, counted from 0.
      state: after the step before.
      examples: global arrays on the mesh.
    """
    plan = self.plan(step)
    with mesh_lib.use_mesh(self.mesh):
      return self.steps[self.reductions(step)](
        state, examples, None if plan is None else jnp.asarray(plan)
      )

  def arguments(
    self, step: int = 0
  ) -> tuple[step_lib.State, losses.Examples, jax.ShapeDtypeStruct | None]:
    """Shapes of state, examples and plan, with their shardings.

    Examples are rows, also where features of them are kept: the pass that makes
    these computes as much, see features.py.
    """
    plan = self.plan(step)
    if plan is None:
      return self.state, self._abstract_examples(), None
    bits = jax.ShapeDtypeStruct(
      (len(plan),), jnp.bool_, sharding=mesh_lib.replicated(self.mesh)
    )
    return self.state, self._abstract_examples(), bits

  def lower(self, step: int = 0) -> jax.stages.Lowered:
    """The step as it is compiled, of shapes: nothing is computed."""
    with mesh_lib.use_mesh(self.mesh):
      return self.steps[self.reductions(step)].lower(*self.arguments(step))

  def _abstract_examples(self) -> losses.Examples:
    feed = self.stage.feed
    shape = feed.row_shape(
      suites.entry(self.config), self.config, self.model.architecture
    )
    batch = packing.stack([packing.row([], shape)])
    labels = (
      targets.example(self.config.policy.loss, len(self.viable))[None]
      if feed.labels
      else None
    )

    def abstract(row: np.ndarray) -> jax.ShapeDtypeStruct:
      return jax.ShapeDtypeStruct(
        (self.options.batch, *row.shape[1:]),
        row.dtype,
        sharding=mesh_lib.batch_sharding(self.mesh),
      )

    return jax.tree.map(abstract, losses.Examples(batch, labels))


def build(
  config: ml_collections.ConfigDict,
  stage: str,
  mesh: Mesh,
  viable: Sequence[plans.Plan] = (),
) -> TrainProgram:
  """The train step of a stage.

  Args:
    config: the whole config.
    stage: name of the stage.
    mesh: devices to run on.
    viable: plans by cost, for a stage that draws from them or learns to choose.

  Raises:
    ValueError: there is no such stage, or its model does not go with the mesh.
  """
  record, options = stages.named(stage), config[stage]
  model = model_lib.build(config)
  optimizer = optim.make(config.optim, options)
  if record.loss is losses.policy and config.policy.loss == 'reward':
    budget = config.policy.budget
    optimizer = optim.dual_ascent(optimizer, budget, options.steps)
  params = model_lib.abstract_params(model, mesh)
  trained, frozen = param_paths.split(params, record.trains)
  state = step_lib.State(
    trained, frozen, _abstract_opt(optimizer, trained, mesh)
  )
  return TrainProgram(
    stage=record,
    config=config,
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    viable=tuple(viable),
    params=params,
    state=state,
  )


def from_config(
  config: ml_collections.ConfigDict,
  stage: str,
  devices: Sequence[jax.Device] | None = None,
) -> TrainProgram:
  """The train step of a stage before anything is there: no data, no workdir.

  The plans that will be viable are not known yet; there are as many as there
  may be, and each is the largest.

  Args:
    config: the whole config.
    stage: name of the stage.
    devices: that `mesh` of the config is laid over; None for all there are.

  Raises:
    ValueError: as `build`, or the mesh is not of so many devices, or the batch
      does not divide by it.
  """
  mesh = mesh_lib.make(**config.mesh, devices=devices)
  options = config[stages.named(stage).name]
  mesh_lib.check_batch(stage, options.batch, mesh, options.accumulate)
  mesh_lib.check_slots(suites.packed_slots(config), mesh)
  model = resolve.architecture(config)
  return build(
    config,
    stage,
    mesh,
    viable=(model.layout.max,) * model.router.plans,
  )


def _abstract_opt(
  optimizer: optim.Optimizer,
  trained: dict[str, jax.ShapeDtypeStruct],
  mesh: Mesh,
) -> optim.OptState:
  """The optimizer's state; moments lie as their parameters do."""

  def place(
    path: jax.tree_util.KeyPath, leaf: jax.ShapeDtypeStruct
  ) -> jax.ShapeDtypeStruct:
    name = getattr(path[-1], 'key', '')  # moments are dicts of the same paths
    like = trained.get(name)
    sharding = mesh_lib.replicated(mesh) if like is None else like.sharding
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  return jax.tree_util.tree_map_with_path(
    place, jax.eval_shape(optimizer.init, trained)
  )


def _shardings(tree: object) -> object:
  return jax.tree.map(lambda x: x.sharding, tree)
