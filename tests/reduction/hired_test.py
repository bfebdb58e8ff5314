"""A budget for each tile, by what the thumbnail looks at."""

import numpy as np
import pytest

from tests.reduction import one_row

SIDE = 4  # patches of a tile, each way


def page(down, across, cut):
  """The slots of an image of so many tiles, some of its lines cut off.

  Returns:
    patch [slots], the newline's is one past the last; where each slot is in the
    whole image, None of the thumbnail and newlines.
  """
  tiles = 1 + down * across
  patch, at = [*range(SIDE**2)], [None] * SIDE**2
  for line in range(cut, SIDE * down - cut):
    for column in range(SIDE * across):
      tile = 1 + line // SIDE * across + column // SIDE
      inside = line % SIDE * SIDE + column % SIDE
      patch.append(tile * SIDE**2 + inside)
      at.append(
        ((line - cut) / (SIDE * down - 2 * cut), column / SIDE / across)
      )
    patch.append(tiles * SIDE**2)
    at.append(None)
  return np.array(patch), at


def published(patch, at, attention, share):
  """As the authors' code says it; a tile by where its patches are."""
  budget = int(len(patch) * share)
  of_thumbnail = min(budget // 2, SIDE**2)
  order = np.argsort(-attention[: SIDE**2])
  stays = set(order[:of_thumbnail].tolist())
  looked_at = set(order[: SIDE**2 // 2].tolist())
  hits = {}
  for slot, where in enumerate(at):
    if where is not None:
      line, column = (int((x + 1e-9) * SIDE) for x in where)
      tile = patch[slot] // SIDE**2
      hits.setdefault(tile, 0)
      hits[tile] += line * SIDE + column in looked_at
  for tile, count in hits.items():
    mine = [
      s for s in range(len(patch)) if at[s] and patch[s] // SIDE**2 == tile
    ]
    mine.sort(key=lambda s: -attention[patch[s]])
    keep = (budget - of_thumbnail) * count // sum(hits.values())
    stays.update(mine[:keep])
  return sorted(stays)


@pytest.mark.parametrize('down,across,cut', [(1, 1, 0), (2, 3, 0), (2, 2, 2)])
@pytest.mark.parametrize('share', ['0.2', '0.4'])
def test_it_is_what_the_papers_code_says(down, across, cut, share):
  patch, at = page(down, across, cut)
  attention = np.random.default_rng(cut).random(SIDE**2 * (1 + down * across))
  _, stays = one_row.reduce(
    f'hired:{share}',
    [1] * len(patch),
    range(len(patch)),
    attention,
    np.zeros((len(attention), 2)),
    grid=(SIDE, SIDE),
    gather_index=patch,
    tiles=1 + down * across,
  )
  assert stays == published(patch, at, attention, float(share))


def test_without_a_thumbnail_each_tile_keeps_its_share():
  seen = np.arange(16.0)
  _, at = one_row.reduce(
    'hired:1/2', [1] * 12 + [0] * 4, range(16), seen, np.zeros((16, 2))
  )
  assert at == [2, 3, 6, 7, 10, 11]
