"""The config of a VISOR folder as vLLM reads it."""

from transformers import LlavaOnevisionConfig


class VisorConfig(LlavaOnevisionConfig):
  """config.json of `convert export --as=visor`.

  For vLLM the images are an encoder's, whose keys and values text reads in the
  layers that look. For transformers they are not, so that config.json does not
  say it.

  Attributes:
    visor: architecture, viable plans and calibration.
    plan: of this server; --hf-overrides '{"plan": "router"}'.
    budget: of a router: a share of what max takes, on average.
    budget_of: what it is a share of: prefill, the LLM's FLOPs for a prompt, or
      total, end to end.
    drop: instead: a share of max's accuracy that it may lose.
  """

  model_type = 'visor'
  is_encoder_decoder: bool = True
  decoder_start_token_id: int = 0  # vLLM wants one, and adds none
  visor: dict | None = None
  plan: str = 'max'
  budget: float | None = None
  budget_of: str = 'prefill'
  drop: float | None = None
