"""VISOR on vLLM's LLaVA-OneVision: one plan a server.

The image is an encoder's. In the encoder step all keys and values that text
will read of it are computed, `images.Reader`; in the first step of the decoder
they go to the blocks that vLLM keeps for cross attention. TEXT layers are
vLLM's own. CROSS layers have its CrossAttention before them. In SELF layers one
softmax goes over text and image, `one_softmax`.

Legend: T tokens of all requests, R requests, D width.
"""

from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

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
from vllm_visor import processor

IMAGES = 4  # whose keys and values are kept for further questions


class Standing(NamedTuple):
  """Where the tokens of a step stand.

  Attributes:
    position: [T], visual tokens counted.
    behind: bool [T], behind an image; only they see it.
  """

  position: torch.Tensor
  behind: torch.Tensor


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
    # CROSS layers are the folder's own sources, but for their softmax.
    visor = dynamic_module_utils.get_class_from_dynamic_module(
      'visor_layers.Visor', folder
    )
    self.slots_class = dynamic_module_utils.get_class_from_dynamic_module(
      'visor_slots.Slots', folder
    )
    self.visor = visor(config.text_config, config.visor)
    self.kinds = kinds_of(config.visor, config.plan)
    self.reader = images.Reader(
      self.language_model.model.layers,
      self.kinds,
      self.visor.cross,
      self._slots,
    )
    self.looks = nn.ModuleDict(
      {
        str(number): self._look(number, vllm_config)
        for number in self.reader.looking
      }
    )
    self.recent = cachetools.LRUCache(IMAGES)

  def _look(self, number: int, vllm_config: VllmConfig) -> CrossAttention:
    """What reads the image in a layer."""
    attention = self.language_model.model.layers[number].self_attn
    heads = attention.num_kv_heads
    if self.kinds[number] == images.CROSS:
      heads = self.visor.cross[str(number)].key.shape[1]
    return CrossAttention(
      attention.num_heads,
      attention.head_dim,
      attention.scaling,
      num_kv_heads=heads,
      cache_config=vllm_config.cache_config,
      prefix=f'looks.{number}',
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
    """Of each image what layers read of it, and how long its prefix is."""
    prefixes, keys = kwargs.pop(processor.PREFIX), kwargs.pop(processor.KEY)
    outputs = []
    for number, (prefix, key) in enumerate(zip(prefixes, keys)):
      name = int(key), *prefix.tolist()
      if name not in self.recent:
        fields = {field: x[number : number + 1] for field, x in kwargs.items()}
        self.recent[name] = self._read(prefix, fields)
      outputs.append(self.recent[name])
    return tuple(outputs)

  def _read(self, prefix: torch.Tensor, fields: dict[str, Any]) -> torch.Tensor:
    image = self._parse_and_validate_image_input(**fields)
    (visual,) = self._process_image_input(image)
    prefix = prefix.to(visual.device)
    columns = self.reader.read(
      self.language_model.model.embed_tokens(prefix), visual
    )
    # Bits of an int32 in every row: encoder outputs are of the model's dtype.
    count = torch.tensor([len(prefix)], dtype=torch.int32, device=visual.device)
    count = count.view(columns.dtype).expand(len(columns), -1)
    return torch.cat([columns, count], -1)

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
    standing = self._stand(positions, encoder_outputs or [])
    columns = self._columns(encoded)
    slots = self._slots(standing.position)
    for number, layer in enumerate(model.layers):
      kind = self.kinds[number]
      if kind == images.SELF:
        x = self._self(number, x, standing, *next(columns))
        continue
      if kind == images.CROSS:
        x = x + self._cross(number, x, standing, slots, *next(columns))
      x, residual = layer(standing.position, x, None)
      x = x + residual
    return model.norm(x)

  def _stand(
    self, positions: torch.Tensor, encoder_outputs: list[torch.Tensor]
  ) -> Standing:
    step = self.looks and paged.metadata(next(iter(self.looks.values())))
    if not step:  # vLLM measures memory
      return Standing(positions, torch.zeros_like(positions, dtype=torch.bool))
    visual, ends = step.seq_lens.long(), step.query_start_loc[1:]
    place = torch.arange(len(positions), device=positions.device)
    row = torch.searchsorted(ends.long(), place, right=True)
    row = row.clamp(max=len(visual) - 1)
    prefix = torch.zeros_like(visual)
    if encoder_outputs:
      begins = positions[step.query_start_loc[:-1].long()] == 0
      prefix[begins & (visual > 0)] = torch.stack(
        [_prefix_length(x) for x in encoder_outputs]
      )
    behind = (visual[row] > 0) & (positions >= prefix[row])
    return Standing(positions + visual[row] * behind, behind)

  def _columns(
    self, encoded: torch.Tensor | None
  ) -> Iterator[tuple[torch.Tensor | None, torch.Tensor | None]]:
    """Key and value of each looking layer; None where no request begins."""
    start = 0
    for look in self.looks.values():
      width = look.num_kv_heads * look.head_size
      if encoded is None:
        yield None, None
      else:
        yield encoded[:, start : start + 2 * width].split(width, -1)
      start += 2 * width

  def _cross(
    self,
    number: int,
    x: torch.Tensor,
    standing: Standing,
    slots: Any,
    key: torch.Tensor | None,
    value: torch.Tensor | None,
  ) -> torch.Tensor:
    """What is added before a CROSS layer, [T, D]; 0 before the image."""
    cross, look = self.visor.cross[str(number)], self.looks[str(number)]
    query = cross.queries(x[None], slots)[0].transpose(0, 1).flatten(1)
    context = look(query, key, value).view(len(x), -1, look.head_size)
    hidden = ~standing.behind[:, None, None]
    context = context.masked_fill(hidden, 0).transpose(0, 1)
    return cross.joined(context[None])[0]

  def _self(
    self,
    number: int,
    x: torch.Tensor,
    standing: Standing,
    visual_key: torch.Tensor | None,
    visual_value: torch.Tensor | None,
  ) -> torch.Tensor:
    """A SELF layer, [T, D]."""
    layer = self.language_model.model.layers[number]
    look = self.looks[str(number)]
    query, key, value = images.project(layer, x, standing.position)
    if visual_key is not None:
      visual_key, visual_value = (
        part.view(len(part), -1, look.head_size)
        for part in (visual_key, visual_value)
      )
    context = one_softmax.merge(
      paged.attend(layer.self_attn.attn, query, key, value, True),
      paged.attend(look, query, visual_key, visual_value, False),
      standing.behind,
    )
    return images.finish(layer, x, context)


def kinds_of(facts: dict[str, Any], plan: str) -> list[str]:
  """What each layer does under a plan: 'max', 'min' or '0,3'.

  Raises:
    ValueError: it is another.
  """
  layout = facts['architecture']['layout']
  kinds, optional = list(layout['kinds']), layout['optional']
  every = [str(number) for number in range(len(optional))]
  runs = dict(max=every, min=[]).get(plan, plan.split(','))
  if not set(runs) <= set(every):
    raise ValueError(
      f'plan "{plan}": expected max, min, or which of {len(every)} optional '
      'SELF layers run, counted from 0, as 0,1; base is served by vLLM alone'
    )
  for number, layer in enumerate(optional):
    kinds[layer] = images.SELF if str(number) in runs else 'text'
  return kinds


def _prefix_length(encoded: torch.Tensor) -> torch.Tensor:
  """Tokens before an image, out of what is encoded of it."""
  bits = encoded[0, -(4 // encoded.element_size()) :]
  return bits.contiguous().view(torch.int32)[0].long()


def _check(vllm_config: VllmConfig) -> None:
  """Refuses what would be silently wrong."""
  parallel = vllm_config.parallel_config
  if parallel.world_size > 1:
    raise ValueError(f'VISOR runs on one device, not {parallel.world_size}')
  if not vllm_config.model_config.trust_remote_code:
    raise ValueError('CROSS layers are code of the folder: --trust-remote-code')
  if vllm_config.cache_config.cache_dtype not in (
    'auto',
    'bfloat16',
    'float16',
  ):
    raise ValueError(
      f'--kv-cache-dtype {vllm_config.cache_config.cache_dtype}: VISOR keeps '
      'keys as they are, auto'
    )
