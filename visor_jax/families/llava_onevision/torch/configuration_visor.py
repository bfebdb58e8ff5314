"""The config of a VISOR model: that of its base, and what VISOR adds."""

from transformers import LlavaOnevisionConfig


class VisorConfig(LlavaOnevisionConfig):
  """LLaVA-OneVision's config with an entry `visor`.

  Attributes:
    visor: architecture, viable plans and calibration, as visor_jax writes them.
  """

  model_type = 'visor'
  visor: dict | None = None
