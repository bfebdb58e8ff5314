"""Which families respond alike: correlation and its hierarchical clustering.

Correlation sees where a family loses, not how much; and it is weak where few
questions make a family's accuracy noisy.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial import distance

Responses = Mapping[str, Sequence[float]]  # accuracy of families by condition


def compare(responses: Responses, groups: Mapping[str, str]) -> dict[str, Any]:
  """Correlates responses, clusters them, and holds the split to the groups.

  Args:
    responses: accuracy of each family in each condition, the undisturbed one
      first.
    groups: 'coarse' or 'fine' of each family.

  Returns:
    families, in the order of the tree's leaves; constant, those left out
      because they do not respond at all;
    correlation [F, F], Pearson;
    linkage [F - 1, 4], scipy's, of average distances 1 - correlation, over
      the indices in `families`;
    split {family: group} of two clusters, where the one that loses more is the
      fine one; agreement, the share of families whose group that is. None
      where there are less than three families, or four conditions: any two
      points lie on a line.
  """
  constant = [
    family for family, response in responses.items() if np.ptp(response) == 0
  ]
  families = [family for family in responses if family not in constant]
  if len(families) < 3 or min(map(len, responses.values())) < 4:
    return dict(
      families=families,
      constant=constant,
      correlation=None,
      linkage=None,
      split=None,
      agreement=None,
    )
  leaves = hierarchy.leaves_list(_tree(responses, families))
  families = [families[leaf] for leaf in leaves]
  linkage = _tree(responses, families)
  split = _split(responses, families, linkage)
  return dict(
    families=families,
    constant=constant,
    correlation=_correlation(responses, families),
    linkage=linkage,
    split=split,
    agreement=float(
      np.mean([split[family] == groups[family] for family in families])
    ),
  )


def _split(
  responses: Responses, families: Sequence[str], linkage: np.ndarray
) -> dict[str, str]:
  """Two clusters, of which the one that loses more is fine."""
  cluster = hierarchy.fcluster(linkage, 2, 'maxclust')
  if cluster.max() == 1:
    return dict.fromkeys(families, 'coarse')
  loss = np.array(
    [responses[f][0] - np.mean(responses[f][1:]) for f in families]
  )
  fine = max((1, 2), key=lambda number: loss[cluster == number].mean())
  return {
    family: 'fine' if number == fine else 'coarse'
    for family, number in zip(families, cluster)
  }


def _tree(responses: Responses, families: Sequence[str]) -> np.ndarray:
  distances = distance.squareform(
    1 - _correlation(responses, families), checks=False
  )
  return hierarchy.linkage(distances, 'average')


def _correlation(responses: Responses, families: Sequence[str]) -> np.ndarray:
  correlation = np.corrcoef([responses[family] for family in families])
  np.fill_diagonal(correlation, 1)
  return np.clip(correlation, -1, 1)
