"""Small synthetic workdirs."""

import json

EVIL = '<b>&"$x$'
PLANS = {'min': [0, 0], '1': [0, 1], 'max': [1, 1]}


def rows():
  """Base, three plans and the router on two families."""
  for family, group in (('count', 'coarse'), (EVIL, 'fine')):
    common = dict(
      family=family,
      group=group,
      n=200,
      seed=7,
      config='3fa9c1',
      accounting='FLOPs, not MACs & prefill only.',
      versions={'jax': '0.10.2'},
    )
    yield common | dict(
      selector='base',
      plan=None,
      accuracy=0.7,
      llm_prefill_flops=8e6,
      flops_saved=1.0,
    )
    for layers, plan in enumerate(PLANS.values()):
      yield common | dict(
        selector='fixed',
        plan=plan,
        accuracy=0.3 + 0.2 * layers,
        llm_prefill_flops=(1 + layers) * 1e6,
        flops_saved=8 / (1 + layers),
      )
    yield common | dict(
      selector='router',
      plan=None,
      accuracy=0.69,
      llm_prefill_flops=1.5e6,
      flops_saved=8 / 1.5,
      chosen={'min': 120, 'max': 80},
    )


def targets():
  """A router with targets, and what everything costs."""
  for row in rows():
    yield row | dict(
      visual_flops=1e5,
      vision_flops=3e6,
      decode_flops=1e4,
      total_flops=5e6,
      total_saved=1.2,
      cache_bytes=1e4,
    )
    if row['selector'] == 'router':
      yield row | dict(budget=0.5, promised=0.5, delivered=0.52)
      yield row | dict(drop=0.01, promised=0.99, delivered=0.97)


def fill(workdir):
  """Writes only what a report needs."""
  (workdir / 'results.jsonl').write_text(
    '\n'.join(json.dumps(row) for row in rows())
  )


def fill_all(workdir):
  """Writes every file that a report can show."""
  fill(workdir)
  for folder in ('search', 'policy', 'full'):
    (workdir / folder).mkdir()
  evaluated = [
    {
      'plan': [a, b],
      'accuracy': 0.5 + 0.1 * a,
      'error': 0.02,
      'flops': 1e6 + a + b,
      'questions': 512,
    }
    for a in (0, 1)
    for b in (0, 1)
  ]
  (workdir / 'search' / 'plans.json').write_text(
    json.dumps(
      {
        'viable': list(PLANS.values()),
        'evaluated': evaluated,
        'evaluations': {'questions': 1664, 'saved': 384, 'errors': 3.0},
      }
    )
  )
  curve = [
    {'confidence': c, 'accuracy': c / 2, 'flops': c * 1e6}
    for c in (0.5, 0.9, 0.99)
  ]
  (workdir / 'policy' / 'calibration.json').write_text(
    json.dumps({'confidence': 0.9, 'curve': curve})
  )
  for stage in ('full', 'policy'):
    (workdir / stage / 'metrics.jsonl').write_text(
      '\n'.join(
        json.dumps({'step': i, 'loss': 3 / (1 + i)}) for i in range(300)
      )
    )
  (workdir / 'config.json').write_text(
    json.dumps(
      {'note': '</pre><script>', 'full.steps': 300, 'policy.steps': 300}
    )
  )
