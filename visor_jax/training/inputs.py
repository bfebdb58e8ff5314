"""What a stage is given: everything but its name."""

from collections.abc import Sequence
import dataclasses

from jax.sharding import Mesh
import ml_collections

from visor_jax.data import protocols
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import feature_table
from visor_jax.training import targets


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
  """What a stage is given.

  Attributes:
    config: the whole config.
    workdir: where it leaves its checkpoints and metrics.
    mesh: devices that it runs on.
    suite: where its rows come from.
    viable: plans by cost, for a stage that draws from them or learns to choose.
    labels: (number of a question, its target), for a stage that learns to
      choose, see targets.py.
    before: the workdir of the stages before it; None for the same.
    features: what the router reads of the labelled questions, where it is kept.
  """

  config: ml_collections.ConfigDict
  workdir: workdir_lib.Workdir
  mesh: Mesh
  suite: protocols.Suite
  viable: tuple[plans.Plan, ...] = ()
  labels: Sequence[targets.Target] = ()
  before: workdir_lib.Workdir | None = None
  features: feature_table.FeatureTable | None = None
