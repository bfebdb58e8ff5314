"""Which layers need the image: accuracy when some of them do not see it.

A base layer that runs as TEXT does not see the image, so leaving the image out
of some layers is another layout of the same weights. How families respond to
it says which are alike (the paper splits benchmarks into coarse and hard so).
"""

from collections.abc import Sequence
import dataclasses
import itertools
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from visor_jax.analysis import clusters
from visor_jax.analysis import layerwise
from visor_jax.eval import run as eval_run
from visor_jax.runtime import console
from visor_jax.spec import plan as plans

PARTS = 6


def measure(
  under_test: eval_run.ModelUnderTest,
  selection: plans.Selection,
  count: int,
  folder: pathlib.Path,
  options: ml_collections.ConfigDict,
) -> dict[str, Any]:
  """Accuracy by family with the image left out of stretches of layers.

  Args:
    under_test: who answers.
    selection: of one plan, or the base.
    count: test questions.
    folder: where the answers are kept.
    options: the config's `eval`.

  Returns:
    kinds [L]; dropped, lists of layers, first none; questions {family: n};
    groups {family: group}; accuracy {family: a number for each of `dropped`};
    and what clusters.compare finds.
  """
  kinds = under_test.model.architecture.layout_of(selection.plan)
  seeing = [i for i, kind in enumerate(kinds.kinds) if kind != plans.TEXT]
  subsets = [(), *stretches(seeing)]
  accuracy: dict[str, list[float]] = {}
  families: list[str] = []
  for number, layers in enumerate(subsets):
    console.log(
      f'drop, plan {selection}: {number + 1} of {len(subsets)}, the '
      f'image left out of {named(layers)}'
    )
    answers = eval_run.answers(
      blind(under_test, kinds, layers),
      layerwise.STREAM,
      count,
      plans.Selection('fixed', ()),  # nothing is optional any more
      folder / str(selection) / named(layers),
      options,
      options.score,
    )
    families = [answer['family'] for answer in answers]
    for family in sorted(set(families)):
      scores = [a['score'] for a in answers if a['family'] == family]
      accuracy.setdefault(family, []).append(float(np.mean(scores)))
  groups = {family: under_test.suite.group(family) for family in accuracy}
  return layerwise.plain(
    dict(
      kinds=list(kinds.kinds),
      dropped=[list(layers) for layers in subsets],
      questions={family: families.count(family) for family in accuracy},
      groups=groups,
      accuracy=accuracy,
      **clusters.compare(accuracy, groups),
    )
  )


def stretches(
  layers: Sequence[int], parts: int = PARTS
) -> list[tuple[int, ...]]:
  """Every run of neighbours among so many parts of the layers.

  Short ones first; where there are fewer layers than parts, a part is a layer.
  """
  parts = min(parts, len(layers))
  cuts = [round(i * len(layers) / max(parts, 1)) for i in range(parts + 1)]
  runs = sorted(
    itertools.combinations(range(parts + 1), 2),
    key=lambda run: (run[1] - run[0], run),
  )
  return [tuple(layers[cuts[a] : cuts[b]]) for a, b in runs]


def blind(
  under_test: eval_run.ModelUnderTest,
  kinds: plans.Layout,
  layers: Sequence[int],
) -> eval_run.ModelUnderTest:
  """The model whose `layers` do not see the image; its only plan is ().

  Args:
    under_test: who answers.
    kinds: of its layers, none optional.
    layers: that become TEXT.
  """
  params, crosses = under_test.params, kinds.indices(plans.CROSS)
  left = [i for i, layer in enumerate(crosses) if layer not in layers]
  if len(left) < len(crosses):
    llm = dict(params['llm'])
    cross = llm.pop('cross')
    if left:  # weights stay with their layers
      llm['cross'] = jax.tree.map(lambda x: x[np.array(left)], cross)
    params = {**params, 'llm': llm}
  layout = plans.Layout(
    tuple(
      plans.TEXT if i in layers else kind for i, kind in enumerate(kinds.kinds)
    )
  )
  architecture = dataclasses.replace(
    under_test.model.architecture, layout=layout
  )
  model = under_test.model.clone(architecture=architecture)
  return dataclasses.replace(under_test, model=model, params=params)


def named(layers: Sequence[int]) -> str:
  """'none', '3', '2-5' (those among them that look)."""
  if not layers:
    return 'none'
  return f'{layers[0]}-{layers[-1]}' if len(layers) > 1 else str(layers[0])
