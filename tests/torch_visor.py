"""A checkpoint with VISOR trained, and what torch makes of its export."""

import dataclasses

import numpy as np
import torch
from torch.nn import functional
import transformers

from tests import llava
from tests import trained
from visor_jax import inference
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder as folder_lib
from visor_jax.checkpoint import load
from visor_jax.convert import folders
from visor_jax.convert import sidecar
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans

DEPTH, CROSS, SELF = 6, (1, 3), (2, 4)
# What of an architecture is as a config has it by default, and what is not.
ARCHITECTURES = {
  'default': dict(router=architecture_lib.RouterOptions('learned', 6, 4)),
  'other': dict(
    cross=architecture_lib.CrossOptions(
      key_heads='full', norm=False, rope=True, conv=False
    ),
    router=architecture_lib.RouterOptions('visual', 6, 3),
    last_visual=False,
  ),
  'last': dict(router=architecture_lib.RouterOptions('last', 6, 3)),
}
TEXTS = {'other': dict(model_type='llama')}  # what is not Qwen2
CURVE = (
  (0, 0.3, 0.5, 0.4, 0.7),
  (0.5, 0.6, 0.8, 0.7, 0.85),
  (1, 1.1, 0.9, 1, 1.05),
)


def write(where, name, **changes):
  """Writes WHERE/llava, /checkpoint and its export /visor.

  Args:
    where: a folder.
    name: of ARCHITECTURES.
    **changes: of the architecture.
  """
  text = dict(num_hidden_layers=DEPTH) | TEXTS.get(name, {})
  llava.write(where / 'llava', text=text)
  folders.import_(where / 'llava', where / 'base')
  start = load.load(where / 'base')
  architecture = dataclasses.replace(
    start.facts.architecture,
    layout=plans.visor(DEPTH, CROSS, SELF),
    **ARCHITECTURES[name] | changes,
  )
  facts = facts_lib.Facts(
    architecture,
    viable=((False, False), (False, True), (True, True)),
    confidence=0.6,
    trained=trained.BOTH,
    curve=tuple(budget.Point(*point) for point in CURVE),
  )
  model = visor.Visor(architecture, compute_lib.Compute())
  folder_lib.save(
    where / 'checkpoint',
    trained.params(start.params, model),
    facts,
    sidecar.read(start.processor).write,
  )
  folders.export(where / 'checkpoint', where / 'visor', 'visor')


class Pair:
  """Ours and theirs of one checkpoint, asked the same."""

  def __init__(self, where):
    self.folder = where / 'visor'
    self.ours = inference.load(where / 'checkpoint')
    self.theirs, self.problems = (
      transformers.AutoModelForImageTextToText.from_pretrained(
        self.folder, trust_remote_code=True, output_loading_info=True
      )
    )
    self.theirs.eval()
    self.oracle = llava.Reader(where / 'llava', self.theirs.config)
    tokenizer = self.ours.processor.tokenizer
    self.stops = [tokenizer.end, *tokenizer.stops]

  def inputs(self, asked):
    """[(images, prompt), ...] as a processor gives them, padded in front."""
    rows = [self.oracle.inputs(*case) for case in asked]
    fields = {'input_ids': [], 'attention_mask': []}
    length = max(row['input_ids'].shape[1] for row in rows)
    for row in rows:
      pad = length - row['input_ids'].shape[1]
      ones = torch.ones_like(row['input_ids'])
      fields['input_ids'].append(functional.pad(row['input_ids'], (pad, 0)))
      fields['attention_mask'].append(functional.pad(ones, (pad, 0)))
    seen = [row for row in rows if 'pixel_values' in row]
    if seen:
      tiles = max(row['pixel_values'].shape[1] for row in seen)
      fields['image_sizes'] = [row['image_sizes'] for row in seen]
      fields['pixel_values'] = [
        functional.pad(
          row['pixel_values'],
          (0,) * 7 + (tiles - row['pixel_values'].shape[1],),
        )
        for row in seen
      ]
      counts = [len(images) for images, _ in asked]
      fields['batch_num_images'] = [torch.tensor(counts)]
    return {name: torch.cat(parts) for name, parts in fields.items()}

  @torch.no_grad()
  def logits(self, asked, plan):
    """float32 [T, C] of each, at text positions."""
    inputs = self.inputs(asked)
    logits = self.theirs(**inputs, plan=plan).logits.numpy()
    is_text = inputs['attention_mask'].bool()
    is_text &= inputs['input_ids'] != self.theirs.config.image_token_id
    return [row[text] for row, text in zip(logits, is_text.numpy())]

  def generate(self, asked, new_tokens, **options):
    """What torch generates, greedily, and the text of each."""
    inputs = self.inputs(asked)
    answer = self.theirs.generate(
      **inputs,
      **options,
      max_new_tokens=new_tokens,
      do_sample=False,
      eos_token_id=self.stops,
      pad_token_id=self.stops[0],
      return_dict_in_generate=True,
    )
    tokens = answer.sequences[:, inputs['input_ids'].shape[1] :].tolist()
    return answer, [*map(self.ours.processor.tokenizer.decode, tokens)]

  def differ(self, asked, plan):
    """The largest difference of logits."""
    ours = self.ours.logits(*zip(*asked), plan=plan)
    theirs = self.logits(asked, plan)
    return max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))
