"""What layers keep of a prompt: for the tokens to come, and of its images.

What an image became is a function of what stands before it, of itself and of
the plan, and of nothing that comes after: another question about it need not
compute it again.

Legend: B batch, T text, V visual, S = T + V, K key heads, H head width.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from visor_jax.models import backbone
from visor_jax.models import positions

KeyValue = tuple[jax.Array, jax.Array]  # [B, S, K, H] each


class LayerCache(NamedTuple):
  """What a layer keeps of the prompt for the tokens to come."""

  layer: KeyValue  # of the text; in SELF of the image too
  cross: Any = None  # in CROSS: what its module's `keys` made of the image


class ImageCache(NamedTuple):
  """The part of it that is the images' alone."""

  layer: KeyValue | None = None  # in SELF: [B, V, K, H] each
  cross: Any = None  # in CROSS, as above


# Caches of a span of layers: for each Repeat, for each layer of its period,
# with leaves [count, ...].
SpanCaches = tuple[tuple[LayerCache, ...], ...]
SpanImages = tuple[tuple[ImageCache, ...], ...]


class ReadImages(NamedTuple):
  """What is known of a batch's images; the rest of them is computed."""

  patches: backbone.PatchFeatures | None = None
  # Of images alone, of every span of layers under a plan. What stands before
  # the images must be what stood there then.
  caches: tuple[SpanImages, ...] = ()


UNREAD = ReadImages()


def of_images(
  caches: SpanCaches, token_layout: positions.TokenLayout
) -> SpanImages:
  """Those of a prompt's images alone, of a span of layers.

  Args:
    caches: of the prompt.
    token_layout: where its tokens stood in these layers.
  """
  text = token_layout.text.place.shape[1]
  visual = token_layout.place[None, :, text:, None, None]

  def of_layer(cache: LayerCache) -> ImageCache:
    if cache.layer[0].shape[2] == text:  # the image has no part in it
      return ImageCache(None, cache.cross)
    key, value = (jnp.take_along_axis(x, visual, 2) for x in cache.layer)
    return ImageCache((key, value), cache.cross)

  return tuple(tuple(map(of_layer, period)) for period in caches)


def merge(
  text: KeyValue, visual: KeyValue, token_layout: positions.TokenLayout
) -> KeyValue:
  """Keys and values of text and images, [B, S, K, H], in order of places."""
  order = token_layout.order[..., None, None]

  def both(of_text: jax.Array, of_visual: jax.Array) -> jax.Array:
    joined = jnp.concatenate([of_text, of_visual], axis=1)
    return jnp.take_along_axis(joined, order, axis=1)

  return both(text[0], visual[0]), both(text[1], visual[1])
