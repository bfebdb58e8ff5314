"""Attention over two caches as one softmax over both.

Legend: T tokens, N heads, K key heads, H head width, R requests.
"""

import torch

Result = tuple[torch.Tensor, torch.Tensor]  # [T, N, H], log-sum-exp [N, T]


def merge(
  text: Result, visual: Result, sees_visual: torch.Tensor
) -> torch.Tensor:
  """What one softmax over the keys of both gives, [T, N, H].

  Args:
    text: attention over the keys of the text.
    visual: over those of the image.
    sees_visual: bool [T], of tokens that see the image.
  """
  lse = torch.stack([text[1], visual[1]]).float()  # [2, N, T]
  lse[1].masked_fill_(~sees_visual, -torch.inf)
  share = lse.softmax(0).transpose(1, 2)[..., None]
  # Of those that see no image there is nothing, and be it no number.
  looked = visual[0].masked_fill(~sees_visual[:, None, None], 0)
  return (share[0] * text[0] + share[1] * looked).to(text[0].dtype)


def attend_pages(
  query: torch.Tensor,
  cache: torch.Tensor,
  starts: torch.Tensor,
  lengths: torch.Tensor,
  pages: torch.Tensor,
  scale: float,
  causal: bool,
) -> Result:
  """Attention of each request over its pages, in plain torch.

  Args:
    query: [T, N, H].
    cache: [pages, K, slots, 2H], keys and values.
    starts: [R + 1], where the tokens of a request start.
    lengths: [R], how many keys it has.
    pages: [R, most], which pages.
    scale: of the scores.
    causal: whether the last token sees all keys, the one before it one less.
  """
  out, lse = torch.zeros_like(query), query.new_zeros(query.shape[1::-1])
  for number, (start, stop, length) in enumerate(
    zip(starts.tolist(), starts[1:].tolist(), lengths.tolist())
  ):
    if start == stop or not length:
      continue
    slots = cache[pages[number].long()].transpose(1, 2).flatten(0, 1)[:length]
    groups = query.shape[1] // slots.shape[1]
    key, value = slots.repeat_interleave(groups, 1).chunk(2, -1)  # [S, N, H]
    scores = torch.einsum('tnh,snh->nts', query[start:stop], key).float()
    scores *= scale
    if causal:
      hidden = torch.ones_like(scores[0], dtype=torch.bool)
      scores.masked_fill_(hidden.triu(1 + length - stop + start), -torch.inf)
    lse[:, start:stop] = scores.logsumexp(-1)
    share = scores.softmax(-1).to(value.dtype)
    out[start:stop] = torch.einsum('nts,snh->tnh', share, value)
  return out, lse


def write_pages(
  cache: torch.Tensor,
  key: torch.Tensor,
  value: torch.Tensor,
  slots: torch.Tensor,
) -> None:
  """Puts keys and values, [T, K, H] each, into slots [T] of the pages."""
  page, place = slots // cache.shape[2], slots % cache.shape[2]
  cache[page, :, place] = torch.cat([key, value], -1)
