"""Which layers need the image: accuracy when some of them do not see it.

A base layer that runs as TEXT does not see the image, so leaving the image out
of some layers is another layout of the same weights. How families respond to
it says which are alike (the paper splits benchmarks into coarse and hard so).
"""

import dataclasses
import itertools
import pathlib

import jax
import numpy as np

from visor_jax.analysis import clusters
from visor_jax.analysis import layerwise
from visor_jax.eval import run
from visor_jax.runtime import console
from visor_jax.spec import plan as plans

PARTS = 6


def measure(
  subject: run.ModelUnderTest,
  selection: plans.Selection,
  count: int,
  folder,
  options,
) -> dict:
  """Accuracy by family with the image left out of stretches of layers.

  Args:
    subject: who answers.
    selection: of one plan, or the base.
    count: test questions.
    folder: where the answers are kept.
    options: the config's `eval`.

  Returns:
    kinds [L]; dropped, lists of layers, first none; questions {family: n};
    groups {family: group}; accuracy {family: a number for each of `dropped`};
    and what clusters.compare finds.
  """
  kinds = layerwise.layout(subject.model, selection.plan)
  looking = [i for i, kind in enumerate(kinds.kinds) if kind != plans.TEXT]
  subsets = [(), *stretches(looking)]
  accuracy = {}
  for number, layers in enumerate(subsets):
    console.log(
      f'drop, plan {selection}: {number + 1} of {len(subsets)}, the '
      f'image left out of {named(layers)}'
    )
    rows = run.answers(
      blind(subject, kinds, layers),
      layerwise.STREAM,
      count,
      plans.Selection('fixed', ()),  # nothing is optional any more
      pathlib.Path(folder) / str(selection) / named(layers),
      options,
      options.score,
    )
    families = [r['family'] for r in rows]
    for family in sorted(set(families)):
      accuracy.setdefault(family, []).append(
        float(np.mean([r['score'] for r in rows if r['family'] == family]))
      )
  groups = {f: subject.suite.group(f) for f in accuracy}
  return layerwise.plain(
    dict(
      kinds=list(kinds.kinds),
      dropped=[list(s) for s in subsets],
      questions={f: families.count(f) for f in accuracy},
      groups=groups,
      accuracy=accuracy,
      **clusters.compare(accuracy, groups),
    )
  )


def stretches(layers, parts: int = PARTS) -> list[tuple[int, ...]]:
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
  subject: run.ModelUnderTest, kinds: plans.Layout, layers
) -> run.ModelUnderTest:
  """The subject whose `layers` do not see the image; its only plan is ().

  Args:
    subject: who answers.
    kinds: of its layers, none optional.
    layers: that become TEXT.
  """
  params, crosses = subject.params, kinds.indices(plans.CROSS)
  left = [i for i, layer in enumerate(crosses) if layer not in layers]
  if len(left) < len(crosses):
    llm = dict(params['llm'])
    cross = llm.pop('cross')
    if left:  # weights stay with their layers
      llm['cross'] = jax.tree.map(lambda x: x[np.array(left)], cross)
    params = params | {'llm': llm}
  layout = plans.Layout(
    tuple(
      plans.TEXT if i in layers else kind for i, kind in enumerate(kinds.kinds)
    )
  )
  model = subject.model.clone(
    architecture=dataclasses.replace(subject.model.architecture, layout=layout)
  )
  return dataclasses.replace(subject, model=model, params=params)


def named(layers) -> str:
  """'none', '3', '2-5' (those among them that look)."""
  if not layers:
    return 'none'
  return f'{layers[0]}-{layers[-1]}' if len(layers) > 1 else str(layers[0])
