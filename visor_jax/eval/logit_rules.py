"""The rules of a checkpoint on logits, as transformers' processors apply them.

Legend: B rows, S tokens of a sequence, N tokens of an answer, C vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from visor_jax.spec import batch as batch_lib
from visor_jax.spec import generation

_NEVER = -jnp.inf


class Sequences(NamedTuple):
  """What has come so far, prompts included."""

  ids: jax.Array  # int32 [B, S]; -1 behind the last token
  length: jax.Array  # int32 [B]


def prompts(batch: batch_lib.Batch, image_token: int, tokens: int) -> Sequences:
  """Prompts as transformers has them: a token for every visual token, too.

  Args:
    batch: a prompt in each row.
    image_token: what stands for a visual token.
    tokens: of an answer, for which there is room.
  """
  visual = _scatter(
    jnp.full((len(batch.tokens), _slots(batch) + tokens), -1, jnp.int32),
    batch.visual_place,
    batch.visual_segment > 0,
    jnp.full_like(batch.visual_place, image_token),
  )
  is_text = batch.text_segment > 0
  ids = _scatter(visual, batch.text_place, is_text, batch.tokens)
  length = is_text.sum(1) + (batch.visual_segment > 0).sum(1)
  return Sequences(ids, length.astype(jnp.int32))


def with_answers(
  sequences: Sequences, tokens: jax.Array, number: jax.Array | int
) -> Sequences:
  """Prompts and the first `number` of the tokens behind them, int32 [B, N]."""
  new = jnp.arange(tokens.shape[1])
  place = sequences.length[:, None] + new
  ids = _scatter(
    sequences.ids, place, jnp.broadcast_to(new < number, place.shape), tokens
  )
  return Sequences(ids, sequences.length + number)


def apply(
  rules: generation.Rules,
  logits: jax.Array,
  sequences: Sequences,
  number: jax.Array | int,
  tokens: int,
  ends: Sequence[int],
) -> jax.Array:
  """Logits of the next token, changed by the rules.

  Args:
    rules: of the checkpoint.
    logits: float32 [B, C].
    sequences: what has come so far.
    number: of the new token, counted from 0.
    tokens: of an answer at most.
    ends: tokens that end an answer.
  """
  for word, bias in rules.sequence_bias:
    logits = _bias(logits, sequences, word, bias)
  if rules.repetition_penalty != 1:
    seen = _seen(logits, sequences.ids)
    penalty = rules.repetition_penalty
    less = jnp.where(logits < 0, logits * penalty, logits / penalty)
    logits = jnp.where(seen, less, logits)
  if rules.no_repeat_ngram_size:
    repeated = _repeated(logits, sequences, rules.no_repeat_ngram_size)
    logits = jnp.where(repeated, _NEVER, logits)
  early = sequences.length < rules.min_length
  early |= number < rules.min_new_tokens
  logits = jnp.where(early[:, None], _without(logits, ends), logits)
  if rules.forced_eos_token_id:
    forced = jnp.full_like(logits, _NEVER)
    forced = forced.at[:, jnp.array(rules.forced_eos_token_id)].set(0)
    logits = jnp.where(number == tokens - 1, forced, logits)
  logits = _without(logits, rules.suppress_tokens)
  first = _without(logits, rules.begin_suppress_tokens)
  return jnp.where(number == 0, first, logits)


def _slots(batch: batch_lib.Batch) -> int:
  return batch.text_place.shape[1] + batch.visual_place.shape[1]


def _scatter(
  ids: jax.Array, place: jax.Array, used: jax.Array, values: jax.Array
) -> jax.Array:
  """`ids` with values at their places, where they are used."""
  row = jnp.arange(ids.shape[0])[:, None]
  place = jnp.where(used, place, ids.shape[1])
  return ids.at[row, place].set(values, mode='drop')


def _without(logits: jax.Array, tokens: Sequence[int]) -> jax.Array:
  if not tokens:
    return logits
  return logits.at[:, jnp.array(tokens)].set(_NEVER, mode='drop')


def _seen(
  logits: jax.Array, ids: jax.Array, where: jax.Array | bool = True
) -> jax.Array:
  """Which tokens are among these, bool [B, C]."""
  row = jnp.arange(ids.shape[0])[:, None]
  ids = jnp.where((ids >= 0) & where, ids, logits.shape[1])
  return jnp.zeros(logits.shape, bool).at[row, ids].set(True, mode='drop')


def _last(sequences: Sequences, count: int) -> tuple[jax.Array, jax.Array]:
  """The last tokens, int32 [B, count], and whether there are so many, [B]."""
  place = sequences.length[:, None] - count + jnp.arange(count)
  last = jnp.take_along_axis(sequences.ids, jnp.maximum(place, 0), axis=1)
  return last, sequences.length >= count


def _bias(
  logits: jax.Array, sequences: Sequences, word: tuple[int, ...], bias: float
) -> jax.Array:
  """Adds to a token where those before it have just come."""
  last, enough = _last(sequences, len(word) - 1)
  come = enough & (last == jnp.array(word[:-1], jnp.int32)).all(1)
  more = jnp.where(come, jnp.float32(bias), 0)
  return logits.at[:, word[-1]].add(more, mode='drop')


def _repeated(logits: jax.Array, sequences: Sequences, size: int) -> jax.Array:
  """Tokens with which `size` in a row would come again, bool [B, C]."""
  ids, (last, enough) = sequences.ids, _last(sequences, size - 1)
  starts = ids.shape[1] - size + 1
  same = jnp.broadcast_to(enough[:, None], (len(ids), max(starts, 0)))
  for k in range(size - 1):
    same &= ids[:, k : k + starts] == last[:, k, None]
  return _seen(logits, ids[:, size - 1 :], same)
