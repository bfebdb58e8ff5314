"""Checkpoints by their names on the hub."""

import sys

import pytest

from tests.convert import checkpoints
from visor_jax.convert import hf


def test_the_hub(tmp_path, checkpoint, monkeypatch):
  """A name is downloaded, without what other libraries need."""
  import huggingface_hub

  asked = []

  def download(name, allow_patterns):
    asked.append((name, allow_patterns))
    return str(checkpoint[0])

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
  imported = hf.read('llava-hf/some-model')
  checkpoints.equal(imported.params, hf.read(checkpoint[0]).params)
  ((name, patterns),) = asked
  assert name == 'llava-hf/some-model'
  assert '*.safetensors' in patterns and '*.json' in patterns
  assert not any('bin' in p for p in patterns)
  monkeypatch.setattr(
    huggingface_hub, 'snapshot_download', lambda *a, **k: 1 / 0
  )
  with pytest.raises(ValueError, match='could not be had from the hub: div'):
    hf.read('llava-hf/some-model')
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(ValueError, match='pip install huggingface_hub'):
    hf.read('llava-hf/some-model')
