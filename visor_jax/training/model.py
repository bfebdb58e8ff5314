"""The configured model, and its parameters before any of them has learned."""

from collections.abc import Collection
import functools

from flax import linen as nn
import jax
from jax.sharding import Mesh
import ml_collections

from visor_jax.checkpoint import resolve
from visor_jax.data.processing import packing
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import batch as batch_lib


def build(config: ml_collections.ConfigDict) -> visor.Visor:
  """The configured model.

  Raises:
    ValueError: the config and its checkpoint differ, see resolve.architecture.
  """
  m = config.model
  return visor.Visor(
    resolve.architecture(config),
    compute_lib.Compute(
      dtype=m.dtype,
      remat=m.remat,
      remat_policy=m.remat_policy,
      scan=m.scan,
      attention=m.attention,
      chunk=m.attention_chunk,
    ),
  )


def abstract_params(model: visor.Visor, mesh: Mesh) -> param_paths.Params:
  """Shapes and dtypes of the parameters, with how they lie on a mesh.

  Raises:
    ValueError: a parameter does not divide by the mesh.
  """
  boxed = _boxed(model, mesh)
  return jax.tree.map(
    lambda x, sharding: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=sharding
    ),
    _unboxed(boxed),
    mesh_lib.shardings(boxed, mesh),
  )


def init_params(
  model: visor.Visor, seed: int, mesh: Mesh, known: Collection[str] = ()
) -> param_paths.Params:
  """Fresh parameters, made where they will lie.

  Args:
    model: whose parameters.
    seed: of the run.
    mesh: devices to spread them over.
    known: paths of parameters that there are already; they are left out.
  """
  shardings = param_paths.flatten(mesh_lib.shardings(_boxed(model, mesh), mesh))
  missing = [path for path in shardings if path not in known]

  def init() -> dict[str, jax.Array]:
    params = param_paths.flatten(_unboxed(_init(model, seed, mesh)))
    return {path: params[path] for path in missing}

  return param_paths.unflatten(
    jax.jit(init, out_shardings={path: shardings[path] for path in missing})()
  )


def with_fresh(
  model: visor.Visor, params: param_paths.Params, seed: int, mesh: Mesh
) -> param_paths.Params:
  """Parameters, and fresh ones of their dtype where there are none.

  Args:
    model: whose parameters.
    params: nested, those that there are.
    seed: of the fresh ones.
    mesh: devices to spread them over.
  """
  flat = param_paths.flatten(params)
  dtype = next(iter(flat.values())).dtype
  fresh = init_params(model, seed, mesh, known=flat.keys())
  return param_paths.unflatten(
    flat
    | {path: x.astype(dtype) for path, x in param_paths.flatten(fresh).items()}
  )


def _init(model: visor.Visor, seed: int, mesh: Mesh) -> param_paths.Params:
  """Parameters in the boxes that linen puts around them."""
  model = model.with_reduction('')  # which has no parameters
  vision = model.size.vision
  shape = batch_lib.RowShape(1, 1, 1, 1, vision.tile, vision.patches)
  rows = [packing.row([], shape)] * mesh_lib.num_batch_shards(mesh)
  with nn.logical_axis_rules(()):  # where they lie is said by out_shardings
    return model.init(
      jax.random.key(seed), packing.stack(rows), method='init_all'
    )['params']


@functools.cache  # to trace a whole model takes a second
def _boxed(model: visor.Visor, mesh: Mesh) -> param_paths.Params:
  return jax.eval_shape(lambda: _init(model, 0, mesh))


def _unboxed(params: param_paths.Params) -> param_paths.Params:
  with nn.logical_axis_rules(()):
    return nn.unbox(params)
