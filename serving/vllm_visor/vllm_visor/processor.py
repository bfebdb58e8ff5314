"""From a prompt with an image to what encoder and decoder get.

The image is the encoder's, the text the decoder's. The text goes with the image
too: in SELF layers it depends on what stands before it, and the router on all.
"""

from collections.abc import Mapping
import hashlib
from typing import Any

import torch
from vllm.model_executor.models import llava_onevision
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import EncDecMultiModalProcessor

# Beside pixels, of each image.
TEXT, PREFIX, KEY = 'visor_text', 'visor_prefix', 'visor_key'


class Info(llava_onevision.LlavaOnevisionProcessingInfo):
  """One image a prompt, as vLLM has it of encoders."""

  def get_supported_mm_limits(self) -> Mapping[str, int | None]:
    return dict(image=1)


class Processor(
  EncDecMultiModalProcessor[Info],
  llava_onevision.LlavaOnevisionMultiModalProcessor,
):
  """LLaVA-OneVision's, with text and image apart."""

  skip_decoder_start_token = True  # a prompt is all there is

  def _image_token(self) -> int:
    return self.info.get_hf_config().image_token_index

  def create_encoder_prompt(self, prompt: Any, mm_items: Any) -> list[int]:
    """The image."""
    return [self._image_token()] * mm_items.get_count('image', strict=False)

  def create_decoder_prompt(self, prompt: Any, mm_items: Any) -> list[int]:
    """All but the image.

    Raises:
      ValueError: the prompt has not one place for each image, or no text
        behind it.
    """
    image = self._image_token()
    count = mm_items.get_count('image', strict=False)
    text = [token for token in prompt if token != image]
    # vLLM measures with an image alone, and answers no empty text.
    if prompt.count(image) != count or (text and prompt[-1] == image):
      raise ValueError(
        f'{prompt.count(image)} <image> in the prompt, {count} images: '
        'expected one for each, and text behind the last'
      )
    return text

  def apply(self, inputs: Any, timing_ctx: Any) -> Any:
    """As vLLM's, with the text and a key of the image."""
    image, hashes = self._image_token(), self._get_mm_hashes(inputs)
    if 'image' in hashes and image in inputs.prompt:
      inputs.hf_processor_mm_kwargs = {
        **inputs.hf_processor_mm_kwargs,
        TEXT: tuple(token for token in inputs.prompt if token != image),
        PREFIX: inputs.prompt.index(image),
        KEY: _number(hashes['image'][0]),
      }
    return super().apply(inputs, timing_ctx)

  def _apply_hf_processor_main(
    self, mm_items: Any, hf_kwargs: Mapping[str, Any]
  ) -> Any:
    others = dict(hf_kwargs)
    values = [others.pop(TEXT, ()), others.pop(PREFIX, 0), others.pop(KEY, 0)]
    fields = super()._apply_hf_processor_main(mm_items, others)
    if mm_items.get_count('image', strict=False):
      for name, value in zip((TEXT, PREFIX, KEY), values):
        fields[name] = torch.tensor([value], dtype=torch.long)
    return fields

  def _get_mm_fields_config(self, *args: Any) -> Any:
    fields = {
      name: MultiModalFieldConfig.batched('image', keep_on_cpu=True)
      for name in (TEXT, PREFIX, KEY)
    }
    return super()._get_mm_fields_config(*args) | fields


def _number(text: str) -> int:
  digest = hashlib.blake2b(text.encode(), digest_size=7).digest()
  return int.from_bytes(digest)
