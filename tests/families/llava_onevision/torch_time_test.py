"""Time to the first token in torch follows the FLOPs of a plan."""

import time

import numpy as np
import pytest
import torch
import transformers

from tests import llava
from tests import timing_test
import visor_jax
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.convert import hf
from visor_jax.flops import accounting
from visor_jax.flops import cost as flops


@pytest.mark.drill
@pytest.mark.parametrize(
  'image,visual', [((384, 384), 1485), ((480, 640), 2929)]
)
def test_time_to_first_token(image, visual, tmp_path, monkeypatch):
  """Plans in turn in one process, on one core."""
  timing_test.set_tiles(monkeypatch)
  torch.set_num_threads(1)
  rival = timing_test.oracle(tmp_path / 'hf', 512)
  fresh = visor_jax.load(rival.folder, allow_untrained=True)
  architecture = fresh.model.architecture
  facts = facts_lib.Facts(architecture, trained=(facts_lib.CROSS,))
  params = {k: v for k, v in fresh.params.items() if k != 'router'}
  hf.write(
    tmp_path / 'visor',
    facts_lib.Checkpoint(params, facts, rival.folder),
    'visor',
  )
  model = transformers.AutoModelForImageTextToText.from_pretrained(
    tmp_path / 'visor', trust_remote_code=True
  ).eval()
  inputs = rival.inputs([llava.picture(*image)], timing_test.QUESTION)
  is_image = inputs['input_ids'] == rival.ids['image']
  assert is_image.sum() == visual
  text = int((~is_image).sum())
  tiles = int(inputs['pixel_values'].shape[1])
  fixed = dict(
    base=None, max=architecture.layout.max, min=architecture.layout.min
  )
  spent = {name: [] for name in fixed}
  for turn in range(8):
    for name, seconds in spent.items():
      start = time.thread_time()
      model.generate(**inputs, plan=name, max_new_tokens=1, pad_token_id=0)
      if turn:
        seconds.append(time.thread_time() - start)

  def executed(plan):
    asked = architecture if plan is not None else architecture.base
    took = flops.cost(
      asked, plan, visual, text, accounting.EXECUTED, tiles=tiles
    )
    return took.vision + took.connector + took.llm_prefill

  print()
  for name, plan in fixed.items():
    share = executed(plan) / executed(None)
    took = np.array(spent[name]) / np.median(spent['base'])
    print(
      f'{visual} visual, {name:4} {np.median(spent[name]):.3f} s of CPU '
      f'({min(spent[name]):.3f} to {max(spent[name]):.3f}), '
      f'{np.median(took):.3f} of base; its FLOPs {share:.3f}'
    )
    assert np.median(took) <= 1.3 * share
