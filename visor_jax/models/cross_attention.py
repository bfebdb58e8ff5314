"""Cross attention: how text reads the image in a CROSS layer.

To plug in your own, write a linen module with the two methods of
`CrossAttention`, add it to `CROSS` and name it in `model.cross.module`.

Legend: B batch, T text, V visual, D width, N heads, K key heads, H head width.
"""

from collections.abc import Callable
from collections.abc import Mapping
import functools
from typing import Any
from typing import Protocol

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import attention
from visor_jax.models import layers
from visor_jax.models import params
from visor_jax.models import positions
from visor_jax.spec import architecture
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes


class CrossAttention(Protocol):
  """What a linen module in `CROSS` can do.

  It is made with the fields `size`, a sizes.Language, and `options`, an
  architecture.CrossOptions. Fresh, it should add nothing: then the base model
  starts undisturbed.
  """

  def keys(
    self, visual: jax.Array, slots: positions.Slots, position: jax.Array
  ) -> Any:
    """What text will read of the image; computed once, a cache may hold it.

    Args:
      visual: [B, V, D], as the last SELF layer that ran left it.
      slots: where the visual tokens stand.
      position: int32 [B, V] within the segment, or [B, V, 3].

    Returns:
      Any pytree of arrays [B, ...]; `__call__` gets it back.
    """

  def __call__(
    self,
    text: jax.Array,
    keys: Any,
    slots: positions.Slots,
    visual_slots: positions.Slots,
    position: jax.Array,
    attend: attention.Attend,
  ) -> jax.Array:
    """What is added to the text before the layer itself: [B, T, D].

    Args:
      text: [B, T, D].
      keys: what `keys` returned.
      slots: where the text tokens stand.
      visual_slots: where the visual tokens stand.
      position: int32 [B, T] within the segment.
      attend: attention with the model's settings filled in.
    """


def conv(visual: jax.Array, segment: jax.Array, kernel: jax.Array) -> jax.Array:
  """Depthwise 1-D convolution that stops at segments and at padding.

  Args:
    visual: [B, V, D].
    segment: int32 [B, V], as of positions.visual_runs; 0 is padding.
    kernel: [7, D]; tap i reads the slot i - 3 further on.

  Returns:
    [B, V, D]; the conditional positional embedding of `visual`.
  """
  reach = kernel.shape[0] // 2
  near = jnp.pad(visual, ((0, 0), (reach, reach), (0, 0)))
  near_segment = jnp.pad(segment, ((0, 0), (reach, reach)))
  embedding = jnp.zeros_like(visual)
  for tap in range(kernel.shape[0]):
    span = slice(tap, tap + visual.shape[1])
    same = (near_segment[:, span] == segment) & (segment > 0)
    embedding += jnp.where(same[..., None], near[:, span] * kernel[tap], 0)
  return embedding


class DotProductAttention(nn.Module):
  """Text queries over visual keys (paper, section on the CROSS layer)."""

  size: sizes.Language
  options: architecture.CrossOptions

  def setup(self) -> None:
    size, options = self.size, self.options
    d, n, h = size.width, size.heads, size.head_width
    k = {'base': size.key_heads, 'full': n}[options.key_heads]
    heads, key_heads = ('heads', 'head'), ('key_heads', 'head')
    weight = functools.partial(params.param, self)
    fresh = functools.partial(params.param, self, init=params.zeros)
    self.query = weight('query', (d, n, h), ('embed', *heads))
    self.key = weight('key', (d, k, h), ('embed', *key_heads))
    self.value = weight('value', (d, k, h), ('embed', *key_heads))
    self.query_bias = fresh('query_bias', (n, h), heads)
    self.key_bias = fresh('key_bias', (k, h), key_heads)
    self.value_bias = fresh('value_bias', (k, h), key_heads)
    # Zero: a fresh CROSS layer adds nothing, the base model is undisturbed.
    self.out = fresh('out', (n, h, d), (*heads, 'embed'))
    if options.conv:
      self.conv = fresh('conv', (7, d), ('taps', 'embed'))
    if options.norm:
      self.text_norm = layers.RMSNorm(size.norm_eps)
      self.visual_norm = layers.RMSNorm(size.norm_eps)

  def keys(
    self, visual: jax.Array, slots: positions.Slots, position: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Key and value, [B, V, K, H] each; see `CrossAttention`."""
    if self.options.conv:
      visual = visual + conv(visual, positions.visual_runs(slots), self.conv)
    if self.options.norm:
      visual = self.visual_norm(visual)
    key = params.dense(visual, self.key) + self.key_bias
    value = params.dense(visual, self.value) + self.value_bias
    if self.options.rope:
      key = positions.rope(key, position, self.size)
    return key, value

  def __call__(
    self,
    text: jax.Array,
    keys: tuple[jax.Array, jax.Array],
    slots: positions.Slots,
    visual_slots: positions.Slots,
    position: jax.Array,
    attend: attention.Attend,
  ) -> jax.Array:
    """What is added to the text, [B, T, D]; see `CrossAttention`."""
    if self.options.norm:
      text = self.text_norm(text)
    query = params.dense(text, self.query) + self.query_bias
    if self.options.rope:
      query = positions.rope(query, position, self.size)
    key, value = keys
    context = attend(query, key, value, slots, visual_slots)
    return params.dense(context, self.out, 2)


# Name: makes the module of a size and its options.
CROSS: dict[str, Callable[..., nn.Module]] = {'attention': DotProductAttention}


def named(module: str) -> Callable[..., nn.Module]:
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


def copy_from_layers(
  parameters: Mapping[str, Any], layout: plans.Layout
) -> Mapping[str, Any]:
  """Starts CROSS weights as copies of their layer's own q, k, v and o.

  Args:
    parameters: of a Visor, nested and unboxed.
    layout: says where the CROSS layers are.

  Returns:
    The parameters with `llm/cross` replaced.

  Raises:
    ValueError: the shapes differ, as with full key heads.
  """
  llm = parameters['llm']
  crosses = jnp.asarray(layout.indices(plans.CROSS))
  copies = dict(llm['cross'])
  for name, stack in llm['layers']['attention'].items():
    if name in copies and copies[name].shape[1:] != stack.shape[1:]:
      raise ValueError(
        f'model.cross.init "copy": llm/cross/{name} is '
        f'{copies[name].shape[1:]}, the layer has {stack.shape[1:]}; '
        'set model.cross.key_heads to "base"'
      )
    copies[name] = stack[crosses]
  return {**parameters, 'llm': {**llm, 'cross': copies}}
