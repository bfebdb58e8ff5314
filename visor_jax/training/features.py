"""The pass before the router learns: what it reads of questions, made once.

Tower, connector and the layers before the first optional SELF layer are frozen
in the policy stage. What they leave of a question is the same at each of the
dozens of times that the stage comes to it.

The files lie in a folder that is named by what they are made of: weights, data
and config. A run trusts no other, removes them, and goes on behind the last
file that is whole.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import functools
import hashlib
import json
import sys

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp

from visor_jax.data.pipeline import loader
from visor_jax.data.processing import packing
from visor_jax.models import router
from visor_jax.models import visor
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import identity
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.runtime import paths
from visor_jax.runtime import preempt
from visor_jax.spec import batch as batch_lib
from visor_jax.training import feature_table
from visor_jax.training import feeds
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import program as program_lib
from visor_jax.training import step as step_lib


def keep(
  program: program_lib.TrainProgram,
  state: step_lib.State,
  inputs: inputs_lib.Inputs,
) -> feature_table.FeatureTable | None:
  """Features of the labelled questions; makes those that are not there yet.

  Args:
    program: of the stage.
    state: whose frozen weights make them.
    inputs: of the stage.

  Returns:
    None where they would take more than `features_gb` of the stage's config:
    then each step computes those of its questions.

  Raises:
    SystemExit: it was told to leave; the files that are there stay.
  """
  stage, options = program.stage.name, program.options
  table = _table(program, state, inputs)
  times = options.steps * options.batch / len(table.numbers)
  size = f'{len(table.numbers)} questions, {table.bytes / 1e9:.3g} GB'
  if table.bytes > 1e9 * options.features_gb:
    console.log(
      f'{stage}: features of {size}, more than {stage}.features_gb='
      f'{options.features_gb:g}: each is computed {times:.1f} times'
    )
    return None
  console.log(f'{stage}: features of {size}; each is read {times:.1f} times')
  # All must make the same ones; only process 0 looks, because a host that looks
  # too early may see a file too late.
  missing, *_ = cluster.allgather_json(
    _missing(table) if cluster.is_primary() else []
  )
  progress = console.Progress(f'{stage} features', len(table.numbers))
  for file, batch in zip(missing, _batches(program, table, missing, inputs)):
    if preempt.requested():
      console.log(
        f'{stage} features: {preempt.reason()}; the same command goes on from '
        f'question {table.rows(file).start}'
      )
      sys.exit(preempt.EXIT_CODE)
    features = _features(program.model, state.params, batch)
    features = multihost_utils.process_allgather(features, tiled=True)
    if cluster.is_primary():
      table.write(file, features)
    if file % inputs.config.log.every == 0 or file == missing[-1]:
      progress.line(table.rows(file).stop)
  cluster.exchange(f'features of {stage}')
  return table


def _table(
  program: program_lib.TrainProgram,
  state: step_lib.State,
  inputs: inputs_lib.Inputs,
) -> feature_table.FeatureTable:
  """Which they are, and where they lie."""
  options = program.options
  numbers = tuple(sorted({number for number, _ in inputs.labels}))
  shapes = jax.eval_shape(
    functools.partial(_features, program.model),
    state.params,
    _stacking(program, inputs)([feeds.prompt(inputs.suite, numbers[0])]),
  )
  size = options.batch // options.accumulate
  made_of = [
    _digest(state.frozen),
    inputs.suite.fingerprints,
    identity.fingerprint(inputs.config),
    numbers,
    size,
    str(shapes),
  ]
  name = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
  folder = inputs.workdir.features(program.stage.name) / name
  return feature_table.FeatureTable(folder, numbers, size, shapes)


def _missing(table: feature_table.FeatureTable) -> list[int]:
  """The files to make; those of other features are removed."""
  for folder in table.folder.parent.glob('*'):
    if folder != table.folder:
      console.log(f'{folder} is of other weights, data or config: removed')
      paths.remove_folder(folder)
  return table.missing()


def _batches(
  program: program_lib.TrainProgram,
  table: feature_table.FeatureTable,
  wanted: Sequence[int],
  inputs: inputs_lib.Inputs,
) -> Iterator[batch_lib.Batch]:
  """The questions of some files, on the mesh; a last row fills a file up."""

  def load(number: int) -> tuple[batch_lib.Row, None]:
    file, at = divmod(number, table.size)
    row = min(wanted[file] * table.size + at, len(table.numbers) - 1)
    return feeds.prompt(inputs.suite, table.numbers[row]), None

  for batch, _ in loader.batches(
    load,
    table.size,
    0,
    len(wanted),
    local_rows=mesh_lib.local_rows(table.size, inputs.mesh),
    threads=inputs.config.data.threads,
    prefetch=inputs.config.data.prefetch,
    stack=_stacking(program, inputs),
  ):
    yield mesh_lib.shard_batch(batch, inputs.mesh)


def _stacking(
  program: program_lib.TrainProgram, inputs: inputs_lib.Inputs
) -> Callable[[Sequence[batch_lib.Row]], batch_lib.Batch]:
  """Makes batches, in a half, quarter or eighth of their slots if all fit."""
  fit = inputs.suite.fit(feeds.LABELLED, inputs.config.label.examples)
  times = packing.times_halved(fit.needed, fit.slots)
  patches = program.model.size.vision.patches
  return lambda rows: packing.halved(packing.stack(rows), times, patches)


@functools.partial(jax.jit, static_argnums=0)
def _features(
  model: visor.Visor, params: param_paths.Params, batch: batch_lib.Batch
) -> router.Features:
  features, _ = model.apply({'params': params}, batch, method='features')
  return features


def _digest(params: dict[str, jax.Array]) -> dict[str, int]:
  """A number of each array, of all of its bits, however it is sharded.

  Sums of integers have no order.
  """

  def of_array(x: jax.Array) -> jax.Array:
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    number = jnp.zeros(x.shape, jnp.uint32)
    for axis, length in enumerate(x.shape):
      at = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
      number = number * length + at
    return jnp.sum(bits * (router.mixed(number) | 1), dtype=jnp.uint32)

  digests = jax.jit(functools.partial(jax.tree.map, of_array))(params)
  return {path: int(digest) for path, digest in digests.items()}
