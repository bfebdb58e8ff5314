"""What parameters take on any mesh, known without compiling."""

from collections.abc import Mapping
from collections.abc import Sequence
import itertools
import math

import jax
import ml_collections

from visor_jax.models import sharding
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.training import model as model_lib
from visor_jax.training import stages


class ParamBytes:
  """What the parameters of a stage take on any mesh.

  Args:
    config: the whole config.
    stage: its name.
    devices: any.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    stage: str,
    devices: Sequence[jax.Device],
  ):
    mesh = mesh_lib.make(devices=devices[:1])
    params = model_lib.abstract_params(model_lib.build(config), mesh)
    trained, frozen = param_paths.split(params, stages.named(stage).trains)
    self._trained = [*map(_spread, trained.values())]
    self._frozen = [*map(_spread, frozen.values())]
    self._lengths = {  # and the mesh axes that they are split over
      (sharding.spec_axes(entry), length)
      for leaf in (*trained.values(), *frozen.values())
      for entry, length in zip(leaf.sharding.spec, leaf.shape)
    }

  def divides(self, mesh: Mapping[str, int]) -> bool:
    """Whether every parameter divides by the mesh; argument as of `held`."""
    return not any(
      length % math.prod(mesh[axis] for axis in axes)
      for axes, length in self._lengths
    )

  def held(self, mesh: Mapping[str, int]) -> tuple[float, float]:
    """Bytes of a device's parameters that train, and of frozen ones.

    Args:
      mesh: {axis: devices along it}, of every axis.
    """

    def total(leaves: Sequence[tuple[int, list[str]]]) -> float:
      return sum(
        size / math.prod(mesh[axis] for axis in axes) for size, axes in leaves
      )

    return total(self._trained), total(self._frozen)


def _spread(leaf: jax.ShapeDtypeStruct) -> tuple[int, list[str]]:
  """Bytes of a parameter, and the mesh axes that it is spread over."""
  axes = map(sharding.spec_axes, leaf.sharding.spec)
  return leaf.size * leaf.dtype.itemsize, [*itertools.chain(*axes)]
