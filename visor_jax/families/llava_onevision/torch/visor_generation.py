"""Answers under a plan, or under those that the router chooses."""

import itertools
from typing import Any

import torch
from torch.nn import functional
from transformers import generation
from transformers.generation import utils as generation_utils

from .visor_choice import Confidence
from .visor_choice import choose
from .visor_choice import keeping
from .visor_choice import prompt_hash
from .visor_choice import spending
from .visor_slots import Cache

IMAGES = ('pixel_values', 'image_sizes', 'batch_num_images')
Output = torch.Tensor | generation_utils.GenerateOutput


class PlannedGeneration(generation.GenerationMixin):
  """`generate` of rows that may have different plans."""

  @torch.no_grad()
  def generate(
    self,
    inputs: torch.Tensor | None = None,
    plan: str | None = None,
    budget: float | None = None,
    budget_of: str = 'prefill',
    drop: float | None = None,
    **kwargs: Any,
  ) -> Output:
    """Generates under a plan, or that which the router chooses for each row.

    Args:
      inputs: input_ids, which may have that name too.
      plan: 'router', 'max', 'min', 'base', or which optional SELF layers run,
        '0,3'; by default the router where it is trained, else max.
      budget: instead, a share of what max takes that the router spends on
        average.
      budget_of: what it is a share of: prefill, the LLM's FLOPs for a prompt,
        or total, end to end.
      drop: instead, a share of max's accuracy that the router may lose on
        average.
      **kwargs: what the processor gives, and options of transformers'
        `generate`.

    Returns:
      As theirs. With return_dict_in_generate it has `plans`, the name of each
      row's, and of a router `confidence`, [B]: how probable it is that this
      plan or a cheaper one suffices. Of rows with several plans there are
      sequences alone.
    """
    if [plan, budget, drop].count(None) < 2:
      raise ValueError('give a plan, a budget or a drop: one of them')
    routed = 'router' in self.config.visor['trained']
    if plan is None:
      asked = budget is not None or drop is not None
      plan = 'router' if routed or asked else 'max'
    if plan == 'router' and not routed:
      raise ValueError('the router of this checkpoint is not trained')
    ids = kwargs.pop('input_ids', inputs)
    plans, confidence = [plan] * len(ids), None
    if plan != 'base':
      images = {name: kwargs.pop(name, None) for name in IMAGES}
      kwargs['image_embeds'] = self.embed_images(ids, **images)
    if plan == 'router':
      mask = kwargs.get('attention_mask')
      mask = torch.ones_like(ids) if mask is None else mask
      sure: Confidence = self.config.visor['confidence']
      if drop is not None:
        sure = keeping(self.config.visor, drop)
      if budget is not None:
        hashes = self.prompt_hashes(ids, mask, **images)
        sure = spending(self.config.visor, budget, hashes, budget_of)
      scores = self.route(ids, mask, kwargs['image_embeds'])
      chosen, confidence = choose(scores[:, : len(self.viable)], sure)
      plans = [self.name(self.viable[number]) for number in chosen]
    outputs = {
      name: self._of_plan(name, [p == name for p in plans], ids, kwargs)
      for name in dict.fromkeys(plans)
    }
    output = outputs[plans[0]]
    if len(outputs) > 1:
      output = self._joined(plans, outputs, kwargs)
    if not isinstance(output, torch.Tensor):
      output.plans, output.confidence = plans, confidence
    return output

  def prompt_hashes(
    self,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    pixel_values: torch.Tensor | None,
    image_sizes: torch.Tensor | None,
    batch_num_images: torch.Tensor | None,
  ) -> torch.Tensor:
    """[B], see visor_choice.prompt_hash; arguments as of `forward`."""
    counts = [1] * len(input_ids)
    if batch_num_images is not None:
      counts = batch_num_images.tolist()
    images = iter(())
    if pixel_values is not None:
      images = iter(zip(pixel_values, image_sizes))
    vision = self.config.visor['architecture']['size']['vision']
    is_text = attention_mask.bool() & (input_ids != self.config.image_token_id)
    hashes = []
    for ids, text, count in zip(input_ids, is_text, counts):
      tiles = [
        pixels[: self.tiles(size, alone=count == 1)]
        for pixels, size in itertools.islice(images, count)
      ]
      hashes.append(prompt_hash(ids[text], tiles, vision))
    return torch.tensor(hashes, device=input_ids.device)

  def _of_plan(
    self,
    plan: str,
    rows: list[bool],
    input_ids: torch.Tensor,
    kwargs: dict[str, Any],
  ) -> Output:
    """What transformers generates, of the rows that have one plan."""
    kwargs = dict(kwargs)
    for name in ('attention_mask', 'image_embeds'):
      if kwargs.get(name) is not None:
        kwargs[name] = kwargs[name][rows]
    if plan != 'base' and kwargs.get('use_cache', True):
      kwargs.setdefault('past_key_values', Cache())
    return super().generate(input_ids[rows], plan=plan, **kwargs)

  def _joined(
    self, plans: list[str], outputs: dict[str, Output], kwargs: dict[str, Any]
  ) -> Output:
    """The sequences of all rows in order, padded at the end."""
    config = kwargs.get('generation_config') or self.generation_config
    pad = kwargs.get('pad_token_id', config.pad_token_id)
    if pad is None:
      pad = kwargs.get('eos_token_id', config.eos_token_id)
      pad = pad[0] if isinstance(pad, list) else pad
    sequences = {
      name: output if isinstance(output, torch.Tensor) else output.sequences
      for name, output in outputs.items()
    }
    length = max(x.shape[1] for x in sequences.values())
    rows = {}
    for name, x in sequences.items():
      padded = functional.pad(x, (0, length - x.shape[1]), value=pad or 0)
      rows[name] = iter(padded.chunk(plans.count(name)))
    joined = torch.cat([next(rows[name]) for name in plans])
    output = outputs[plans[0]]
    if isinstance(output, torch.Tensor):
      return joined
    return type(output)(sequences=joined)
