"""Where the tokens of a step stand, and under which plan.

What an encoder's output says beside keys and values, a note in every row, is
said when a request begins: how many tokens stand before its image, and its
plan. What is decoded later stands behind the image; the plan is kept by the
first page that the request has for it.

Legend: T tokens of all requests, R requests.
"""

from typing import Any
from typing import NamedTuple

import torch

from vllm_visor import plans


class Standing(NamedTuple):
  """Of a step.

  Attributes:
    position: [T], visual tokens counted.
    behind: bool [T], behind an image; only they see it.
    row: [T], whose they are.
    visual: int32 [R], visual tokens.
    bits: [R], of plans.
  """

  position: torch.Tensor
  behind: torch.Tensor
  row: torch.Tensor
  visual: torch.Tensor
  bits: torch.Tensor

  def runs(self, optional: int) -> torch.Tensor:
    """For which requests this optional SELF layer runs, bool [R]."""
    return (self.bits >> optional & 1).bool()


def note(prefix: int, plan: plans.Plan, visual: torch.Tensor) -> torch.Tensor:
  """[V, columns], of the dtype of visual tokens: bits of two int32."""
  bits = sum(on << number for number, on in enumerate(plan))
  values = torch.tensor([prefix, bits], dtype=torch.int32)
  values = values.to(visual.device).view(visual.dtype)
  return values.expand(len(visual), -1)


def nowhere(positions: torch.Tensor) -> Standing:
  """Of tokens [T] that are no request's."""
  none = torch.zeros_like(positions)
  return Standing(positions, none.bool(), none, none, none)


def stand(
  step: Any,
  positions: torch.Tensor,
  encoder_outputs: list[torch.Tensor],
  bits_of_page: torch.Tensor,
) -> Standing:
  """Where tokens stand.

  Args:
    step: vLLM's metadata of a layer that reads images.
    positions: [T], in the text of each request.
    encoder_outputs: of requests that begin.
    bits_of_page: of plans, by a request's first page; written here.
  """
  visual, ends = step.seq_lens, step.query_start_loc[1:].long()
  place = torch.arange(len(positions), device=positions.device)
  row = torch.searchsorted(ends, place, right=True).clamp(max=len(visual) - 1)
  prefix, page = torch.zeros_like(visual), step.block_table[:, 0].long()
  if encoder_outputs:
    begins = positions[step.query_start_loc[:-1].long()] == 0
    begins &= visual > 0
    notes = torch.stack([_noted(x) for x in encoder_outputs])
    prefix[begins] = notes[:, 0]
    bits_of_page[page[begins]] = notes[:, 1].to(bits_of_page)
  behind = (visual[row] > 0) & (positions >= prefix[row])
  position = positions + visual[row] * behind
  return Standing(position, behind, row, visual, bits_of_page[page])


def _noted(encoded: torch.Tensor) -> torch.Tensor:
  bits = encoded[0, -(8 // encoded.element_size()) :]
  return bits.contiguous().view(torch.int32)
