"""Qwen2-VL and Qwen2.5-VL: a tower for images of any size, a merger, Qwen2.

Parts that need libraries are imported when they are asked for.
"""

import pathlib
from typing import TYPE_CHECKING

from visor_jax.families import family
from visor_jax.families.qwen2_vl import config
from visor_jax.families.qwen2_vl import costs
from visor_jax.families.qwen2_vl import recipe
from visor_jax.families.qwen2_vl import sizes
from visor_jax.spec import sizes as sizes_lib

if TYPE_CHECKING:
  from visor_jax.convert import tensors as tensors_lib
  from visor_jax.data import protocols
  from visor_jax.models import backbone


def _plan_image(
  height: int, width: int, vision: sizes_lib.Vision
) -> family.ImagePlan:
  from visor_jax.families.qwen2_vl import images

  del vision  # its tiles have one size
  return images.plan(recipe.PUBLISHED, height, width)


def _tensors() -> 'tensors_lib.Table':
  from visor_jax.families.qwen2_vl import tensors

  return tensors.TABLE


def _read_processor(
  folder: pathlib.Path, transparency: str, rows: int | None
) -> 'protocols.Processor':
  from visor_jax.families.qwen2_vl import processor

  return processor.read(folder, transparency, rows)


def _modules() -> 'backbone.Modules':
  from visor_jax.families.qwen2_vl import modules

  return modules.MODULES


FAMILY = family.Family(
  name='qwen2_vl',
  sizes=sizes.SIZES,
  modules=_modules,
  tower_macs=costs.tower,
  connector_macs=costs.merger,
  model_types=config.MODEL_TYPES,
  plan_image=_plan_image,
  read_processor=_read_processor,
  read_config=config.read,
  with_vocabulary=config.with_vocabulary,
  tensors=_tensors,
)
