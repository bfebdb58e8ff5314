"""FastVLM: FastViTHD, a connector of two layers, Qwen2.

Parts that need libraries are imported when they are asked for.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from visor_jax.families import costs as shared_costs
from visor_jax.families import family
from visor_jax.families import text_config
from visor_jax.families.fastvlm import config
from visor_jax.families.fastvlm import costs
from visor_jax.families.fastvlm import recipe
from visor_jax.families.fastvlm import sizes
from visor_jax.spec import sizes as sizes_lib

if TYPE_CHECKING:
  from visor_jax.convert import tensors as tensors_lib
  from visor_jax.data import protocols
  from visor_jax.models import backbone


def _plan_image(
  height: int, width: int, vision: sizes_lib.Vision
) -> family.ImagePlan:
  from visor_jax.families.fastvlm import images

  del height, width  # every image is one tile
  return images.plan(recipe.Recipe(vision.tile[0], recipe.FITS[0]))


def _resized(vision: sizes_lib.Vision, side: int) -> sizes_lib.Vision:
  tile = recipe.smaller(vision.tile[0], side)
  return dataclasses.replace(vision, tile=(tile, tile))


def _tensors() -> 'tensors_lib.Table':
  from visor_jax.families.fastvlm import tensors

  return tensors.TABLE


def _read_processor(
  folder: pathlib.Path, transparency: str, rows: int | None
) -> 'protocols.Processor':
  from visor_jax.families.fastvlm import processor

  return processor.read(folder, transparency, rows)


def _modules() -> 'backbone.Modules':
  from visor_jax.families.fastvlm import modules

  return modules.MODULES


FAMILY = family.Family(
  name='fastvlm',
  sizes=sizes.SIZES,
  modules=_modules,
  tower_macs=costs.tower,
  connector_macs=shared_costs.connector,
  resized=_resized,
  model_types=(config.MODEL_TYPE, config.APPLE),
  plan_image=_plan_image,
  read_processor=_read_processor,
  read_config=config.read,
  with_vocabulary=text_config.with_vocabulary,
  tensors=_tensors,
)
