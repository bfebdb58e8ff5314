"""VISOR on vLLM's LLaVA-OneVision: a plan, or the router.

The image is an encoder's. In the encoder step all keys and values that text
will read of it are computed, `images.Reader`; in the first step of the decoder
they go to the blocks that vLLM keeps for cross attention. TEXT layers are
vLLM's own. CROSS layers have its CrossAttention before them. In SELF layers one
softmax goes over text and image, `one_softmax`.

Legend: T tokens of all requests, R requests, D width.
"""

from collections.abc import Iterator
import functools
import itertools
from typing import Any

import cachetools
import torch
from torch import nn
from transformers import dynamic_module_utils
from vllm.config import VllmConfig
from vllm.model_executor.layers.attention import CrossAttention
from vllm.model_executor.models import llava_onevision
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY

from vllm_visor import images
from vllm_visor import one_softmax
from vllm_visor import paged
from vllm_visor import plans
from vllm_visor import processor
from vllm_visor import standing

IMAGES = 4  # whose keys and values are kept for further questions


@MULTIMODAL_REGISTRY.register_processor(
  processor.Processor,
  info=processor.Info,
  dummy_inputs=llava_onevision.LlavaOnevisionDummyInputsBuilder,
)
class VisorForConditionalGeneration(
  llava_onevision.LlavaOnevisionForConditionalGeneration
):
  """A folder of `convert export --as=visor`."""

  hf_to_vllm_mapper = WeightsMapper(
    orig_to_new_prefix={'vision_tower.': 'vision_tower.vision_model.'}
  )

  def __init__(self, *, vllm_config: VllmConfig, prefix: str = ''):
    _check(vllm_config)
    super().__init__(vllm_config=vllm_config, prefix=prefix)
    config = vllm_config.model_config.hf_config
    folder = vllm_config.model_config.model
    # CROSS layers and router are the folder's own sources, but for attention.
    source = functools.partial(
      dynamic_module_utils.get_class_from_dynamic_module,
      pretrained_model_name_or_path=folder,
    )
    self.facts = config.visor
    self.visor = source('visor_layers.Visor')(config.text_config, self.facts)
    self.slots_class = source('visor_slots.Slots')
    self.choice = {
      name: source(f'visor_choice.{name}')
      for name in ('choose', 'keeping', 'spending', 'prompt_hash')
    }
    self.plan = plans.parse(self.facts, config.plan)
    self.kinds = plans.kinds(self.facts, self.plan)
    model = self.language_model.model
    self.reader = images.Reader(model.layers, self.visor.cross, self._slots)
    self.image_attention = nn.ModuleDict(
      {
        str(number): self._attend_image(number, vllm_config)
        for number, kind in enumerate(self.kinds)
        if kind != plans.TEXT
      }
    )
    self.recent = cachetools.LRUCache(2 * IMAGES)
    self.bits_of_page: torch.Tensor | None = None

  def _attend_image(
    self, number: int, vllm_config: VllmConfig
  ) -> CrossAttention:
    """What reads the image in a layer."""
    attention = self.language_model.model.layers[number].self_attn
    heads = attention.num_kv_heads
    if self.kinds[number] == plans.CROSS:
      heads = self.visor.cross[str(number)].key.shape[1]
    return CrossAttention(
      attention.num_heads,
      attention.head_dim,
      attention.scaling,
      num_kv_heads=heads,
      cache_config=vllm_config.cache_config,
      prefix=f'image_attention.{number}',
    )

  def _slots(self, position: torch.Tensor) -> Any:
    """As the folder's sources want it: a batch of one."""
    rotary = self.language_model.model.layers[0].self_attn.rotary_emb
    cos, sin = (
      part.repeat(1, 2)[None].to(self.image_newline.dtype)
      for part in rotary.cos_sin_cache[position].chunk(2, -1)
    )
    return self.slots_class(position[None], cos, sin)

  def embed_multimodal(self, **kwargs: Any) -> tuple[torch.Tensor, ...]:
    """Of each image what layers read of it, with its prefix and plan."""
    texts, prefixes, keys = (
      kwargs.pop(name)
      for name in (processor.TEXT, processor.PREFIX, processor.KEY)
    )
    outputs = []
    for number, (ids, count, key) in enumerate(zip(texts, prefixes, keys)):
      fields = {name: x[number : number + 1] for name, x in kwargs.items()}
      outputs.append(self._read(ids, int(count), int(key), fields))
    return tuple(outputs)

  def _read(
    self, ids: torch.Tensor, count: int, key: int, fields: dict[str, Any]
  ) -> torch.Tensor:
    """[V, columns], kept for further questions."""
    if key not in self.recent:
      image = self._parse_and_validate_image_input(**fields)
      (self.recent[key],) = self._process_image_input(image)
    visual = self.recent[key]
    text = self.language_model.model.embed_tokens(ids.to(visual.device))
    plan = self.plan
    if plan is None:
      sure = self._confidence(ids, fields)
      plan = self._route(text, count, visual, sure)
    name = key, plan, *ids[:count].tolist()
    if name not in self.recent:
      kinds = plans.kinds(self.facts, plan)
      while kinds[-1] == plans.TEXT:
        kinds.pop()
      columns, *_ = self.reader.run(kinds, text[:count], count, visual, True)
      parts = [
        columns.get(
          int(number), visual.new_zeros(len(visual), 2 * _width(to_image))
        )
        for number, to_image in self.image_attention.items()
      ]
      parts.append(standing.note(count, plan, visual))
      self.recent[name] = torch.cat(parts, -1)
    return self.recent[name]

  def _confidence(self, ids: torch.Tensor, fields: dict[str, Any]) -> Any:
    """How sure the router must be."""
    budget, drop = self.config.budget, self.config.drop
    if drop is not None:
      return self.choice['keeping'](self.facts, drop)
    if budget is None:
      return self.facts['confidence']
    vision = self.facts['architecture']['size']['vision']
    number = self.choice['prompt_hash'](ids, fields['pixel_values'], vision)
    return self.choice['spending'](
      self.facts, budget, torch.tensor([number]), self.config.budget_of
    )

  def _route(
    self, text: torch.Tensor, count: int, visual: torch.Tensor, sure: Any
  ) -> plans.Plan:
    """The router's plan for a prompt."""
    router, architecture = self.visor.router, self.facts['architecture']
    # A token that sees all, and that nobody sees.
    text = torch.cat([text, router.token[None].to(text.dtype)])
    first = min(architecture['layout']['optional'])
    _, text, visual = self.reader.run(self.kinds[:first], text, count, visual)
    readers = dict(learned=text[-1], last=text[-2], visual=visual.mean(0))
    scores = router(readers[architecture['router']['token']][None])
    viable = self.facts['viable']
    chosen, _ = self.choice['choose'](scores[:, : len(viable)].cpu(), sure)
    return tuple(on == 1 for on in viable[int(chosen)])

  def forward(
    self,
    input_ids: torch.Tensor,
    positions: torch.Tensor,
    intermediate_tensors: Any = None,
    inputs_embeds: torch.Tensor | None = None,
    encoder_outputs: list[torch.Tensor] | None = None,
    **kwargs: Any,
  ) -> torch.Tensor:
    """Hidden states of text, [T, D].

    Args:
      input_ids: [T], of all requests one after the other.
      positions: [T], in its text.
      intermediate_tensors: of pipelines, which are refused.
      inputs_embeds: unused, as images are no input.
      encoder_outputs: of `embed_multimodal`, for requests that begin.
      **kwargs: what else vLLM gives.
    """
    model = self.language_model.model
    x = model.embed_tokens(input_ids)
    encoded = torch.cat(encoder_outputs) if encoder_outputs else None
    stand = self._stand(positions, encoder_outputs or [])
    columns, slots = self._columns(encoded), self._slots(stand.position)
    for number, (layer, kind) in enumerate(zip(model.layers, self.kinds)):
      if kind == plans.SELF:
        x = self._self(number, x, stand, *next(columns))
        continue
      if kind == plans.CROSS:
        x = x + self._cross(number, x, stand, slots, *next(columns))
      x, residual = layer(stand.position, x, None)
      x = x + residual
    return model.norm(x)

  def _stand(
    self, positions: torch.Tensor, encoder_outputs: list[torch.Tensor]
  ) -> standing.Standing:
    to_image = next(iter(self.image_attention.values()))
    step = paged.metadata(to_image)
    if not step:  # vLLM measures memory
      return standing.nowhere(positions)
    if self.bits_of_page is None:
      self.bits_of_page = positions.new_zeros(len(to_image.kv_cache))
    return standing.stand(step, positions, encoder_outputs, self.bits_of_page)

  def _columns(
    self, encoded: torch.Tensor | None
  ) -> Iterator[tuple[torch.Tensor | None, torch.Tensor | None]]:
    """Key and value of each looking layer; None where no request begins."""
    if encoded is None:
      return itertools.repeat((None, None))
    widths = [_width(x) for x in self.image_attention.values() for _ in 'kv']
    parts = iter(encoded[:, : sum(widths)].split(widths, -1))
    return zip(parts, parts)

  def _cross(
    self,
    number: int,
    x: torch.Tensor,
    stand: standing.Standing,
    slots: Any,
    key: torch.Tensor | None,
    value: torch.Tensor | None,
  ) -> torch.Tensor:
    """What is added before a CROSS layer, [T, D]; 0 before the image."""
    cross, to_image = (
      self.visor.cross[str(number)],
      self.image_attention[str(number)],
    )
    query = cross.queries(x[None], slots)[0].transpose(0, 1).flatten(1)
    context = to_image(query, key, value).view(len(x), -1, to_image.head_size)
    hidden = ~stand.behind[:, None, None]
    context = context.masked_fill(hidden, 0).transpose(0, 1)
    return cross.joined(context[None])[0]

  def _self(
    self,
    number: int,
    x: torch.Tensor,
    stand: standing.Standing,
    visual_key: torch.Tensor | None,
    visual_value: torch.Tensor | None,
  ) -> torch.Tensor:
    """A SELF layer, [T, D]; a TEXT layer for requests whose plan has it off."""
    layer = self.language_model.model.layers[number]
    to_image = self.image_attention[str(number)]
    query, key, value = images.project(layer, x, stand.position)
    if visual_key is not None:
      visual_key, visual_value = (
        part.reshape(len(part), -1, to_image.head_size)
        for part in (visual_key, visual_value)
      )
    sees, lengths = stand.behind, None
    optional = self.facts['architecture']['layout']['optional']
    if self.plan is None and number in optional:
      runs = stand.runs(optional.index(number))
      sees, lengths = sees & runs[stand.row], stand.visual * runs
    context = one_softmax.merge(
      paged.attend(layer.self_attn.attn, query, key, value, True),
      paged.attend(to_image, query, visual_key, visual_value, False, lengths),
      sees,
    )
    return images.finish(layer, x, context)


def _width(to_image: CrossAttention) -> int:
  """Of a key, all heads."""
  return to_image.num_kv_heads * to_image.head_size


def _check(vllm_config: VllmConfig) -> None:
  """Refuses what would be silently wrong."""
  config = vllm_config.model_config.hf_config
  parallel = vllm_config.parallel_config
  shares = [x for x in (config.budget, config.drop) if x is not None]
  if len(shares) > 1 or (shares and config.plan != 'router'):
    raise ValueError('a budget or a drop, one of them, goes with plan router')
  if parallel.world_size > 1:
    raise ValueError(f'VISOR runs on one device, not {parallel.world_size}')
  if not vllm_config.model_config.trust_remote_code:
    raise ValueError('CROSS layers are code of the folder: --trust-remote-code')
  dtype = vllm_config.cache_config.cache_dtype
  if dtype not in ('auto', 'bfloat16', 'float16'):
    raise ValueError(
      f'--kv-cache-dtype {dtype}: VISOR keeps keys as they are, auto'
    )
