"""Cross attention: how text reads the image in a CROSS layer.

To plug in your own, write a linen module with the two methods of
`CrossAttention`, add it to `CROSS` and name it in `model.cross.module`.
"""

from flax import linen as nn
import jax.numpy as jnp

from visor_jax.models import attention
from visor_jax.models import layers
from visor_jax.spec import architecture
from visor_jax.spec import sizes


def stretches(slots: attention.Slots):
  """Numbers stretches of visual tokens with nothing between them.

  Segments are apart, and so are images with text between them, which must not
  hear of the later one.

  Returns:
    int32 [B, V]; 0 is padding.
  """
  segment, place = slots
  apart = (segment[:, 1:] != segment[:, :-1]) | (
    place[:, 1:] != place[:, :-1] + 1
  )
  number = jnp.cumsum(jnp.pad(apart, ((0, 0), (1, 0))), axis=1) + 1
  return jnp.where(segment > 0, number, 0)


def conv(visual, segment, kernel):
  """Depthwise 1-D convolution that stops at segments and at padding.

  Args:
    visual: [B, V, D].
    segment: int32 [B, V], as of `stretches`.
    kernel: [7, D]; tap i reads the slot i - 3 further on.

  Returns:
    [B, V, D]; the conditional positional embedding of `visual`.
  """
  reach = kernel.shape[0] // 2
  pad = lambda x: jnp.pad(x, [(0, 0), (reach, reach)] + [(0, 0)] * (x.ndim - 2))
  near, near_segment = pad(visual), pad(segment)
  out = jnp.zeros_like(visual)
  for tap in range(kernel.shape[0]):
    span = slice(tap, tap + visual.shape[1])
    same = (near_segment[:, span] == segment) & (segment > 0)
    out += jnp.where(same[..., None], near[:, span] * kernel[tap], 0)
  return out


class CrossAttention(nn.Module):
  """Text queries over visual keys (paper, section on the CROSS layer)."""

  size: sizes.Language
  options: architecture.CrossOptions

  def setup(self):
    size, options = self.size, self.options
    d, n, h = size.width, size.heads, size.head_width
    k = n if options.key_heads == 'full' else size.key_heads
    weight = lambda *args: layers.param(self, *args)
    zeros = layers.zeros
    self.query = weight('query', (d, n, h), ('embed', 'heads', 'head'))
    self.key = weight('key', (d, k, h), ('embed', 'key_heads', 'head'))
    self.value = weight('value', (d, k, h), ('embed', 'key_heads', 'head'))
    self.query_bias = weight('query_bias', (n, h), ('heads', 'head'), zeros)
    self.key_bias = weight('key_bias', (k, h), ('key_heads', 'head'), zeros)
    self.value_bias = weight('value_bias', (k, h), ('key_heads', 'head'), zeros)
    # Zero: a fresh CROSS layer adds nothing, the base model is undisturbed.
    self.out = weight('out', (n, h, d), ('heads', 'head', 'embed'), zeros)
    if options.conv:
      self.conv = weight('conv', (7, d), ('taps', 'embed'), zeros)
    if options.norm:
      self.text_norm = layers.RMSNorm(size.norm_eps)
      self.visual_norm = layers.RMSNorm(size.norm_eps)

  def keys(self, visual, slots, position):
    """What text will read of the image; computed once, a cache may hold it.

    Args:
      visual: [B, V, D], as the last SELF layer that ran left it.
      slots: attention.Slots of the visual tokens.
      position: int32 [B, V] within the segment.

    Returns:
      Any pytree; `__call__` gets it back.
    """
    if self.options.conv:
      visual = visual + conv(visual, stretches(slots), self.conv)
    if self.options.norm:
      visual = self.visual_norm(visual)
    key = layers.dense(visual, self.key) + self.key_bias
    value = layers.dense(visual, self.value) + self.value_bias
    if self.options.rope:
      key = layers.rope(key, position, self.size.rope_theta)
    return key, value

  def __call__(self, text, keys, slots, visual_slots, position, attend):
    """What is added to the text before the layer itself: [B, T, D].

    Args:
      text: [B, T, D].
      keys: what `keys` returned.
      slots: attention.Slots of the text tokens.
      visual_slots: attention.Slots of the visual tokens.
      position: int32 [B, T] within the segment.
      attend: attention.attend with its settings filled in.
    """
    if self.options.norm:
      text = self.text_norm(text)
    query = layers.dense(text, self.query) + self.query_bias
    if self.options.rope:
      query = layers.rope(query, position, self.size.rope_theta)
    context = attend(query, *keys, slots, visual_slots)
    return layers.dense(context, self.out, 2)


CROSS = {'attention': CrossAttention}


def named(module: str) -> type[nn.Module]:
  """The cross attention of that name.

  Raises:
    ValueError: there is none; lists those there are.
  """
  if module not in CROSS:
    raise ValueError(
      f'model.cross.module is "{module}"; models.cross_attention.CROSS has '
      f'{sorted(CROSS)}'
    )
  return CROSS[module]
