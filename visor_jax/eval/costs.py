"""What an answer took, in nominal FLOPs and bytes of its real tokens."""

from collections.abc import Collection
from collections.abc import Sequence
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.data.processing import processed
from visor_jax.flops import cost as flops
from visor_jax.models import caches as caches_lib
from visor_jax.models import decoding
from visor_jax.models import visor
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans


@functools.lru_cache(maxsize=None)
def prefill_flops(
  architecture: architecture_lib.Architecture,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  routing: int = 0,
  tiles: int = 0,
) -> int:
  """Nominal LLM prefill FLOPs of a prompt.

  Args:
    architecture: the model's.
    plan: the plan that ran, None for the dense base.
    visual: visual tokens.
    text: text tokens.
    routing: 1 where the router chose the plan.
    tiles: of its images, which some token reductions ask for.
  """
  return flops.cost(
    architecture, plan, visual, text, routing=routing, tiles=tiles
  ).llm_prefill


class Images(NamedTuple):
  """Visual tokens of a prompt, and the tiles of each of its images."""

  visual: int
  tiles: tuple[int, ...]


class PromptSize(NamedTuple):
  """Visual and text tokens of a prompt, and the tiles of each of its images.

  Where images were made smaller, `original` is what they were before.
  """

  visual: int
  text: int
  images: tuple[int, ...]
  original: Images | None = None


def of_plans(image_plans: Sequence[processed.ImagePlan]) -> Images:
  """What images become that are cut by these plans."""
  return Images(
    sum(plan.tokens for plan in image_plans),
    tuple(
      tiles
      for plan in image_plans
      for tiles in batch_lib.image_tiles(plan.tile_grid)
    ),
  )


class Ran(NamedTuple):
  """What was computed for a prompt, in nominal FLOPs."""

  vision: int  # tower and connector
  prefill: int  # the LLM's, routing included


@functools.lru_cache(maxsize=None)
def vision_flops(
  architecture: architecture_lib.Architecture, images: tuple[int, ...]
) -> tuple[int, int]:
  """Nominal FLOPs of the vision tower and of the connector.

  Args:
    architecture: the model's.
    images: tiles of each, see batch.image_tiles.
  """
  costs = [
    flops.cost(architecture, None, 0, 0, tiles=tiles) for tiles in images
  ]
  return sum(c.vision for c in costs), sum(c.connector for c in costs)


def ran(
  architecture: architecture_lib.Architecture,
  plan: plans.Plan | None,
  lengths: tuple[int, int],
  images: tuple[int, ...],
  routing: int = 0,
) -> Ran:
  """Of a prompt of which nothing is known.

  Args:
    architecture: the model's.
    plan: the plan that ran, None for the dense base.
    lengths: (visual tokens, text tokens).
    images: tiles of each.
    routing: 1 where the router chose the plan.
  """
  return Ran(
    sum(vision_flops(architecture, images)),
    prefill_flops(architecture, plan, *lengths, routing, sum(images)),
  )


def total_flops(
  architecture: architecture_lib.Architecture,
  plan: plans.Plan | None,
  size: PromptSize,
  tokens: int,
) -> int:
  """Nominal FLOPs end to end: tower and connector, LLM prefill and decoding.

  Args:
    architecture: the model's.
    plan: the plan that runs, None for the dense base.
    size: of the prompt.
    tokens: of the answer.
  """
  visual, text, images, _ = size
  vision, prefill = ran(architecture, plan, (visual, text), images)
  return (
    vision
    + prefill
    + flops.decode(architecture, plan, visual, text, tokens, tiles=sum(images))
  )


@functools.lru_cache(maxsize=None)
def of_answer(
  model: visor.Visor,
  plan: plans.Plan | None,
  size: PromptSize,
  tokens: int,
  routing: int = 0,
) -> dict[str, int]:
  """What a question took, in nominal FLOPs; see eval.results.rows.

  Args:
    model: the network that answered.
    plan: the plan that ran, None for the dense base.
    size: of the prompt.
    tokens: tokens of the answer, its end included.
    routing: 1 where the router chose the plan.
  """
  asked = model.architecture
  all_tokens = dataclasses.replace(asked, reduction='')
  # Inside of the dense decoder tokens are dropped where no plan is.
  largest = asked if plan is not None else all_tokens
  visual, text, images, original = size
  base_visual, base_images = original or (visual, images)
  vision, tiles = sum(vision_flops(asked, images)), sum(images)
  llm = prefill_flops(asked, plan, visual, text, routing, tiles)
  base_vision = sum(vision_flops(all_tokens, base_images))
  base_llm = prefill_flops(all_tokens, None, base_visual, text)
  decode = flops.decode(asked, plan, visual, text, tokens, tiles=tiles)
  base_decode = flops.decode(all_tokens, None, base_visual, text, tokens)
  itemsize = jnp.dtype(model.compute.dtype).itemsize
  return dict(
    llm_prefill_flops=llm,
    visual_flops=llm - prefill_flops(asked, plan, 0, text, routing),
    vision_flops=vision,
    decode_flops=decode,
    total_flops=vision + llm + decode,
    tokens=tokens,
    cache_bytes=sum(
      flops.cache(asked, plan, visual, text, itemsize, tiles=tiles)
    ),
    max_prefill_flops=prefill_flops(
      largest, asked.layout.max, visual, text, tiles=tiles
    ),
    max_total_flops=total_flops(largest, asked.layout.max, size, tokens),
    base_prefill_flops=base_llm,
    base_total_flops=base_vision + base_llm + base_decode,
  )


def answer_length(tokens: np.ndarray, ends: Collection[int]) -> int:
  """Tokens of an answer, its end included.

  Args:
    tokens: int [N], as they were generated.
    ends: tokens at which an answer is over.
  """
  at = np.flatnonzero(np.isin(tokens, list(ends)))
  return int(at[0]) + 1 if len(at) else len(tokens)


def cache_bytes(prompt: decoding.DecodeState) -> tuple[int, int]:
  """Bytes that the layers keep of a prompt, of text slots and visual slots."""
  text = prompt.token_layouts[0].text.place.shape[1]
  of_text = of_visual = 0
  for cache in jax.tree.leaves(
    prompt.caches, is_leaf=lambda x: isinstance(x, caches_lib.LayerCache)
  ):
    for x in cache.layer:
      slot = _bytes(x) // x.shape[2]  # [count, B, S, K, H]
      of_text += slot * text
      of_visual += slot * (x.shape[2] - text)
    of_visual += sum(map(_bytes, jax.tree.leaves(cache.cross)))
  return of_text, of_visual


def _bytes(x: jax.Array) -> int:
  return x.size * x.dtype.itemsize
