"""VISOR, VISion On Request (arXiv 2603.23495), in torch.

A vision-language model whose layers look at the image on request. TEXT layers
never touch it, CROSS layers let the text read it, SELF layers are the base's
own, over text and image together. Some of them are optional: a plan says which
run, the others run as TEXT, and a router chooses a plan for each prompt.

  model = AutoModelForImageTextToText.from_pretrained(
    FOLDER, trust_remote_code=True
  )
  model.generate(**inputs, plan='router')

Here is what VISOR adds; tower, connector and layers are those of transformers.

Legend: B batch, S sequence, T text, V visual, D width, C vocabulary.
"""

from typing import Any

import torch
from transformers import cache_utils
from transformers import modeling_outputs

from .visor_decoder import Layers
from .visor_decoder import Plan
from .visor_decoder import behind
from .visor_generation import PlannedGeneration
from .visor_layers import Visor
from .visor_slots import NOWHERE
from .visor_slots import Cache
from .visor_slots import spread
from .visor_slots import take


class VisorModel(PlannedGeneration, Layers):
  """What makes VISOR of a class of transformers; see modeling_visor.

  Attributes:
    optional: the SELF layers that a plan may switch off.
    viable: the plans that the router chooses from, by cost.
  """

  # Masks are made here, as these two take them: sdpa and eager.
  _supports_flash_attn = _supports_flex_attn = False

  def __init__(self, config: Any):
    super().__init__(config)
    facts = config.visor
    self.visor = Visor(config.text_config, facts)
    self.optional: list[int] = facts['architecture']['layout']['optional']
    self.viable = [tuple(on == 1 for on in plan) for plan in facts['viable']]
    self.post_init()

  def forward(
    self,
    input_ids: torch.Tensor | None = None,
    pixel_values: torch.Tensor | None = None,
    image_sizes: torch.Tensor | None = None,
    batch_num_images: torch.Tensor | None = None,
    image_embeds: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    past_key_values: cache_utils.Cache | None = None,
    labels: torch.Tensor | None = None,
    use_cache: bool | None = None,
    logits_to_keep: int | torch.Tensor = 0,
    plan: str = 'max',
    **kwargs: Any,
  ) -> modeling_outputs.CausalLMOutputWithPast:
    """Logits under a plan.

    Args:
      input_ids: [B, S], of the processor, as the three that follow.
      pixel_values: of images.
      image_sizes: height and width of each.
      batch_num_images: how many each row has.
      image_embeds: [B, V, D], of `embed_images`, in place of pixels.
      attention_mask: [B, S], 0 is padding.
      past_key_values: a Cache of the same plan.
      labels: [B, S], -100 where nothing is to be learned.
      use_cache: whether a Cache comes back.
      logits_to_keep: how many of the last tokens get logits; 0 for all.
      plan: of all rows, as of `generate`, but not the router's.
      **kwargs: of transformers' forward, under plan 'base'.

    Returns:
      Logits [B, S, C], zeros where images stand; and the loss, if asked for.
    """
    images = dict(
      pixel_values=pixel_values,
      image_sizes=image_sizes,
      batch_num_images=batch_num_images,
    )
    fixed = self.parse(plan)
    if fixed is None:
      return super().forward(
        input_ids,
        **images,
        attention_mask=attention_mask,
        past_key_values=past_key_values,
        labels=labels,
        use_cache=use_cache,
        logits_to_keep=logits_to_keep,
        **kwargs,
      )
    cache = (
      Cache() if past_key_values is None and use_cache else past_key_values
    )
    start = cache.length if cache is not None else 0
    if start:
      text, layout = self.place_more(input_ids, attention_mask, cache)
      visual = None
    else:
      if image_embeds is None:
        image_embeds = self.embed_images(input_ids, **images)
      text, visual, layout = self.place_prompt(
        input_ids, attention_mask, image_embeds, cache
      )
    kinds = self.kinds_of(fixed)
    text, _ = self.run_layers(
      range(len(kinds)), kinds, text, visual, layout, cache
    )
    text = self.model.language_model.norm(text)
    count, first = input_ids.shape[1], 0
    if isinstance(logits_to_keep, int):
      first = max(count - (logits_to_keep or count), 0)
      logits_to_keep = slice(None)
    hidden = spread(text, layout.text.place - start - first, count - first)
    logits = self.lm_head(hidden[:, logits_to_keep])
    loss = None
    if labels is not None:
      loss = self.loss_function(
        logits=logits, labels=labels, vocab_size=logits.shape[-1]
      )
    return modeling_outputs.CausalLMOutputWithPast(
      loss=loss, logits=logits, past_key_values=cache
    )

  def parse(self, plan: str) -> Plan | None:
    """A plan out of 'max', 'min' or '0,3'; None out of 'base'."""
    if plan == 'base' and 'decoder' in self.config.visor['trained']:
      raise ValueError(
        'plan "base": the layers of the decoder have learned to run beside '
        'CROSS layers, and are no dense model any more; name another plan'
      )
    count = len(self.optional)
    names = dict(base=None, max=(True,) * count, min=(False,) * count)
    if plan in names:
      return names[plan]
    runs = plan.split(',')
    if not set(runs) <= set(map(str, range(count))):
      raise ValueError(
        f'plan "{plan}": expected max, min, base, or which of {count} optional '
        'SELF layers run, counted from 0, as 0,1; `generate` takes router too'
      )
    return tuple(str(number) in runs for number in range(count))

  def name(self, plan: Plan) -> str:
    """How `parse` reads it."""
    runs = ','.join(str(number) for number, on in enumerate(plan) if on)
    return 'max' if all(plan) else runs or 'min'

  def embed_images(
    self,
    input_ids: torch.Tensor,
    pixel_values: torch.Tensor | None = None,
    image_sizes: torch.Tensor | None = None,
    batch_num_images: torch.Tensor | None = None,
  ) -> torch.Tensor:
    """Visual tokens of each row, [B, V, D]; rows with fewer end in zeros."""
    counts = (input_ids == self.config.image_token_id).sum(1)
    used = torch.arange(counts.max(), device=counts.device) < counts[:, None]
    width = self.config.text_config.hidden_size
    embeds = torch.zeros(
      *used.shape, width, dtype=self.dtype, device=used.device
    )
    if pixel_values is None:
      return embeds
    features = self.model.get_image_features(
      pixel_values, image_sizes, batch_num_images=batch_num_images
    ).pooler_output
    features = torch.cat(features).to(embeds)
    if len(features) != counts.sum():
      raise ValueError(
        f'{counts.sum()} image tokens in input_ids, images have {len(features)}'
      )
    return embeds.masked_scatter(used[..., None], features)

  def route(
    self,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    image_embeds: torch.Tensor,
  ) -> torch.Tensor:
    """What the router makes of prompts: scores of plans, float32 [B, plans].

    Args:
      input_ids: of the prompts.
      attention_mask: likewise.
      image_embeds: of `embed_images`.
    """
    cache, kinds = Cache(), self.kinds_of(self.parse('max'))
    layers = range(min(self.optional, default=len(kinds)))
    text, visual, layout = self.place_prompt(
      input_ids, attention_mask, image_embeds, cache
    )
    text, visual = self.run_layers(layers, kinds, text, visual, layout, cache)
    last, router = layout.text.last, self.visor.router

    def learned() -> torch.Tensor:
      # A token that sees what the last one sees, and that nobody sees.
      token = router.token.to(text.dtype).expand(len(text), 1, -1)
      place = layout.text.place.gather(1, last)
      position = (layout.all.place != NOWHERE).sum(1, keepdim=True)
      slots = self.slots_at(token, place, position)
      onlooker = behind(cache, slots, torch.full_like(place, NOWHERE))
      return self.run_layers(layers, kinds, token, None, onlooker, cache)[0][
        :, 0
      ]

    def mean_visual() -> torch.Tensor:
      used = (layout.visual != NOWHERE)[..., None]
      return (visual * used).sum(1) / used.sum(1).clamp(min=1)

    readers = dict(
      learned=learned,
      last=lambda: take(text, last)[:, 0],
      visual=mean_visual,
    )
    return router(
      readers[self.config.visor['architecture']['router']['token']]()
    )
