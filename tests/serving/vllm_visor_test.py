"""The plugin for vLLM: its arithmetic, and by hand all of it in vLLM."""

import os
import pathlib
import subprocess
import types

import pytest
import torch
from torch.nn import functional
from vllm_visor import one_softmax
from vllm_visor import plans
from vllm_visor import standing

from tests import torch_visor

PLUGIN = pathlib.Path(__file__).parents[2] / 'serving' / 'vllm_visor'
HEADS, KEY_HEADS, WIDTH, SLOTS = 6, 2, 8, 4
# As wide as vLLM's kernels for a CPU want it.
TEXT = dict(
  hidden_size=128,
  intermediate_size=160,
  head_dim=32,
  max_position_embeddings=4096,
)


class Cache:
  """Pages in a shuffled order, as a server would have them."""

  def __init__(self, lengths, rng):
    most = -(-max(lengths) // SLOTS)
    self.lengths = torch.tensor(lengths)
    self.table = torch.randperm(most * len(lengths), generator=rng)
    self.table = self.table.view(len(lengths), most)
    self.pages = torch.full(
      (self.table.numel(), KEY_HEADS, SLOTS, 2 * WIDTH), torch.nan
    )
    self.rows = []  # (key, value) of each request, [S, K, H]
    for row, length in enumerate(lengths):
      key, value = torch.randn(2, length, KEY_HEADS, WIDTH, generator=rng)
      place = torch.arange(length)
      slots = self.table[row][place // SLOTS] * SLOTS + place % SLOTS
      one_softmax.write_pages(self.pages, key, value, slots)
      self.rows.append((key, value))

  def attend(self, query, starts, causal):
    return one_softmax.attend_pages(
      query, self.pages, starts, self.lengths, self.table, WIDTH**-0.5, causal
    )


def test_two_caches_are_read_as_one():
  """A prompt, one token of another, and one without an image."""
  rng = torch.Generator().manual_seed(0)
  starts, prefix = torch.tensor([0, 5, 6, 9]), 2
  text, visual = Cache([5, 11, 3], rng), Cache([9, 6, 0], rng)
  query = torch.randn(9, HEADS, WIDTH, generator=rng)
  behind = torch.tensor([False] * prefix + [True] * 4 + [False] * 3)
  merged = one_softmax.merge(
    text.attend(query, starts, True),
    visual.attend(query, starts, False),
    behind,
  )
  for row, (start, stop) in enumerate(zip(starts, starts[1:])):
    key, value = map(torch.cat, zip(text.rows[row], visual.rows[row]))
    count = len(text.rows[row][0])
    sees = torch.ones(stop - start, len(key), dtype=torch.bool)
    sees[:, :count] = sees[:, :count].tril(count - (stop - start))
    sees[:, count:] = behind[start:stop, None]
    heads = (x.transpose(0, 1) for x in (query[start:stop], key, value))
    wanted = functional.scaled_dot_product_attention(
      *heads, attn_mask=sees, enable_gqa=True
    )
    torch.testing.assert_close(merged[start:stop].transpose(0, 1), wanted)


def test_where_tokens_stand():
  """One request goes on, two begin, one of them without an image."""
  bits_of_page = torch.zeros(9, dtype=torch.long)
  outputs = [
    torch.cat(
      [torch.randn(n, 4), standing.note(prefix, plan, torch.ones(n))], 1
    )
    for n, prefix, plan in ((7, 1, (True, False)), (5, 2, (False, True)))
  ]

  def step(starts, positions, rows, encoded):
    metadata = types.SimpleNamespace(
      seq_lens=torch.tensor([7, 5, 0], dtype=torch.int32)[rows],
      query_start_loc=torch.tensor(starts, dtype=torch.int32),
      block_table=torch.tensor([[3, 1], [8, 4], [0, 0]])[rows],
    )
    return standing.stand(
      metadata, torch.tensor(positions), encoded, bits_of_page
    )

  step([0, 2], [0, 1], [0], outputs[:1])
  begun = step([0, 1, 4, 6], [2, 0, 1, 2, 0, 1], [0, 1, 2], outputs[1:])
  assert begun.position.tolist() == [9, 0, 1, 7, 0, 1]
  assert begun.behind.tolist() == [True, False, False, True, False, False]
  assert begun.row.tolist() == [0, 1, 1, 1, 2, 2]
  later = step([0, 1, 2], [3, 3], [1, 0], [])
  assert later.position.tolist() == [8, 10] and later.behind.all()
  for each, wanted in ((begun, [[1, 0], [0, 1]]), (later, [[0, 1], [1, 0]])):
    runs = torch.stack([each.runs(0), each.runs(1)], 1)
    assert runs[:2].tolist() == wanted


def test_plans_by_name():
  layout = dict(kinds=['text', 'cross', 'self', 'self'], optional=[2, 3])
  facts = dict(architecture=dict(layout=layout), trained=['cross'])
  assert plans.parse(facts, 'max') == (True, True)
  assert plans.kinds(facts, plans.parse(facts, '1')) == [
    *('text', 'cross', 'text', 'self')
  ]
  for plan in ('router', '2', 'base'):
    with pytest.raises(ValueError, match='of 2 optional SELF layers'):
      plans.parse(facts, plan)
  assert plans.parse(facts | dict(trained=['router']), 'router') is None
  assert plans.kinds(facts, None) == layout['kinds']


@pytest.mark.drill
@pytest.mark.parametrize('plan', ['min', '1', 'max', 'router'])
@pytest.mark.parametrize('name', ['default', 'other'])
def test_vllm_says_what_transformers_says(name, plan, tmp_path, monkeypatch):
  """VLLM_PYTHON is that of an environment with vLLM and the plugin."""
  monkeypatch.setitem(torch_visor.TEXTS, name, TEXT)
  torch_visor.write(tmp_path, name)
  monkeypatch.setenv('VLLM_ENABLE_V1_MULTIPROCESSING', '0')
  if 'VLLM_PYTHON' not in os.environ:
    pytest.fail(test_vllm_says_what_transformers_says.__doc__)
  command = [os.environ['VLLM_PYTHON'], PLUGIN / 'check.py', tmp_path / 'visor']
  subprocess.run([*command, f'--plan={plan}'], check=True)
