"""Any folder that holds a model is read alike."""

import jax
import pytest

from tests.convert import checkpoints
from visor_jax.checkpoint import load
from visor_jax.convert import folders
from visor_jax.convert import hf
from visor_jax.convert import reader
from visor_jax.runtime import mesh as mesh_lib


def test_shardings(tmp_path, checkpoint):
  """Parameters arrive spread over the devices, from both kinds of folder."""
  mesh = mesh_lib.make(data=2, fsdp=4)
  imported = hf.read(checkpoint[0])
  spec = lambda x: jax.sharding.NamedSharding(
    mesh,
    jax.sharding.PartitionSpec(
      *['fsdp' if n % 4 == 0 else None for n in x.shape[-1:]]
      if x.ndim == 1
      else [None] * (x.ndim - 1) + ['fsdp' if x.shape[-1] % 4 == 0 else None]
    ),
  )
  where = jax.tree.map(spec, imported.params)
  folders.import_(checkpoint[0], tmp_path / 'a')
  extra = where | {'router': {'token': None}}  # the model has more
  for again in (
    hf.read(checkpoint[0], extra),
    load.load(tmp_path / 'a', extra),
    reader.read(tmp_path / 'a', extra, 'float32'),
  ):
    checkpoints.equal(again.params, imported.params)
    jax.tree.map(
      lambda x, s: (
        x.sharding.is_equivalent_to(s, x.ndim) or pytest.fail(str(x.sharding))
      ),
      again.params,
      where,
    )
  shards = again.params['llm']['embedding'].addressable_shards
  assert shards[0].data.shape == (368, 8)
  del where['connector']
  with pytest.raises(ValueError, match='the checkpoint has connector/'):
    hf.read(checkpoint[0], where)
