"""VISOR in vLLM: a plugin, which makes known the folders of visor_jax."""


def register() -> None:
  """What the entry point `vllm.general_plugins` calls, in every process."""
  from transformers import AutoConfig
  from vllm import ModelRegistry

  from vllm_visor import config

  AutoConfig.register(
    config.VisorConfig.model_type, config.VisorConfig, exist_ok=True
  )
  ModelRegistry.register_model(
    'VisorForConditionalGeneration',
    'vllm_visor.model:VisorForConditionalGeneration',
  )
