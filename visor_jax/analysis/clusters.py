"""Which families respond alike: correlation and its hierarchical clustering.

Correlation sees where a family loses, not how much; and it is weak where few
questions make a family's accuracy noisy.
"""

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial import distance


def compare(response: dict, groups: dict) -> dict:
  """Correlates responses, clusters them, and holds the split to the groups.

  Args:
    response: {family: accuracy in each condition}, the undisturbed one first.
    groups: {family: 'coarse' or 'fine'}.

  Returns:
    families, in the order of the tree's leaves; constant, those left out
      because they do not respond at all;
    correlation [F, F], Pearson;
    linkage [F - 1, 4], scipy's, of average distances 1 - correlation, over
      the places in `families`;
    split {family: group} of two clusters, where the one that loses more is the
      fine one; agreement, the share of families whose group that is. None
      where there are less than three families, or four conditions: any two
      points lie on a line.
  """
  constant = [f for f, r in response.items() if np.ptp(r) == 0]
  families = [f for f in response if f not in constant]
  if len(families) < 3 or min(map(len, response.values())) < 4:
    return dict(
      families=families,
      constant=constant,
      correlation=None,
      linkage=None,
      split=None,
      agreement=None,
    )
  tree = lambda names: hierarchy.linkage(
    distance.squareform(1 - _correlation(response, names), checks=False),
    'average',
  )
  families = [families[i] for i in hierarchy.leaves_list(tree(families))]
  linkage = tree(families)
  cluster = hierarchy.fcluster(linkage, 2, 'maxclust')
  loss = np.array([r[0] - np.mean(r[1:]) for r in map(response.get, families)])
  split = dict.fromkeys(families, 'coarse')
  if cluster.max() > 1:
    fine = max((1, 2), key=lambda c: loss[cluster == c].mean())
    split = {
      f: 'fine' if c == fine else 'coarse' for f, c in zip(families, cluster)
    }
  return dict(
    families=families,
    constant=constant,
    correlation=_correlation(response, families),
    linkage=linkage,
    split=split,
    agreement=float(np.mean([split[f] == groups[f] for f in families])),
  )


def _correlation(response, families):
  found = np.corrcoef([response[f] for f in families])
  np.fill_diagonal(found, 1)
  return np.clip(found, -1, 1)
