"""VISOR on transformers' LLaVA-OneVision; see visor_model.py."""

import torch
from transformers import conversion_mapping
from transformers.models.llava_onevision import modeling_llava_onevision

from .configuration_visor import VisorConfig
from .visor_model import VisorModel


class VisorForConditionalGeneration(
  VisorModel, modeling_llava_onevision.LlavaOnevisionForConditionalGeneration
):
  """LLaVA-OneVision that looks on request."""

  config_class = VisorConfig

  def tiles(self, size: torch.Tensor, alone: bool) -> int:
    """Of an image, (height, width), alone in its row or not."""
    if not alone:
      return 1
    return modeling_llava_onevision.image_size_to_num_patches(
      size,
      self.config.image_grid_pinpoints,
      self.config.vision_config.image_size,
    )


# On disk tensors are named as the base's are.
conversion_mapping.register_checkpoint_conversion_mapping(
  VisorConfig.model_type,
  conversion_mapping.get_checkpoint_conversion_mapping('llava_onevision'),
  overwrite=True,
)
