"""LLaVA-OneVision: SigLIP, a connector of two layers, Qwen2.

Parts that need libraries are imported when they are asked for.
"""

import pathlib
from typing import TYPE_CHECKING

from visor_jax.families import costs as shared_costs
from visor_jax.families import family
from visor_jax.families import text_config
from visor_jax.families.llava_onevision import config
from visor_jax.families.llava_onevision import costs
from visor_jax.families.llava_onevision import recipe
from visor_jax.families.llava_onevision import sizes
from visor_jax.spec import sizes as sizes_lib

if TYPE_CHECKING:
  from visor_jax.convert import tensors as tensors_lib
  from visor_jax.data import protocols
  from visor_jax.models import backbone


def _plan_image(
  height: int, width: int, vision: sizes_lib.Vision
) -> family.ImagePlan:
  from visor_jax.families.llava_onevision import images

  del vision  # its tiles have one size
  return images.plan(recipe.PUBLISHED, height, width)


def _tensors() -> 'tensors_lib.Table':
  from visor_jax.families.llava_onevision import tensors

  return tensors.TABLE


def _read_processor(
  folder: pathlib.Path, transparency: str, rows: int | None
) -> 'protocols.Processor':
  from visor_jax.families.llava_onevision import processor

  return processor.read(folder, transparency, rows)


def _modules() -> 'backbone.Modules':
  from visor_jax.families.llava_onevision import modules

  return modules.MODULES


FAMILY = family.Family(
  name='llava_onevision',
  sizes=sizes.SIZES,
  modules=_modules,
  tower_macs=costs.tower,
  connector_macs=shared_costs.connector,
  taps=recipe.TAPS,
  model_types=(config.MODEL_TYPE, config.ORIGINAL),
  plan_image=_plan_image,
  read_processor=_read_processor,
  read_config=config.read,
  with_vocabulary=text_config.with_vocabulary,
  of_parts=config.of_parts,
  tensors=_tensors,
  torch=family.TorchSources(
    pathlib.Path(__file__).parent / 'torch', 'LlavaOnevisionProcessor'
  ),
)
