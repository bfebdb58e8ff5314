"""Rows of results with numbers that are easy to check by hand."""

from visor_jax.report import average


def make(family, group, plan, accuracy, n, flops, saved, selector='fixed'):
  return dict(
    family=family,
    group=group,
    selector=selector,
    plan=plan,
    n=n,
    accuracy=accuracy,
    llm_prefill_flops=flops,
    flops_saved=saved,
  )


def rows():
  """Plans max and min and the router on three families."""
  return [
    make('count', 'coarse', [1, 1], 0.8, 100, 4e9, 2.0),
    make('colour', 'coarse', [1, 1], 0.6, 300, 2e9, 2.0),
    make('digits', 'fine', [1, 1], 0.5, 100, 5e9, 2.0),
    make('count', 'coarse', [0, 0], 0.8, 100, 1e9, 8.0),
    make('colour', 'coarse', [0, 0], 0.6, 300, 0.5e9, 8.0),
    make('digits', 'fine', [0, 0], 0.1, 100, 1.25e9, 8.0),
    make('count', 'coarse', None, 0.8, 100, 1e9, 8.0, 'router'),
    make('colour', 'coarse', None, 0.6, 300, 0.5e9, 8.0, 'router'),
    make('digits', 'fine', None, 0.46, 100, 3.5e9, 10 / 3.5, 'router'),
  ]


def by_name(rows):
  """{selection: its summary}."""
  return {summary.name: summary for summary in average.summaries(rows)}


def costly(row, scale=1.0, **extra):
  """A row with costs: vision 8 times and decoding a half of the prefill."""
  llm = row['llm_prefill_flops']
  return row | dict(
    visual_flops=llm / 4,
    vision_flops=8 * llm,
    decode_flops=llm / 2,
    total_flops=9.5 * llm,
    total_saved=1.5,
    cache_bytes=4000 * scale,
    measured=dict(
      first_token_s=0.25 * scale,
      first_token_range_s=[0.2 * scale, 0.5 * scale],
      tokens_per_s=640.0,
      batch=8,
      peak_bytes=2e9,
      device='cpu',
      devices=1,
    ),
    **extra,
  )


def promised():
  """Routers with targets; of the last the share of max is not known."""
  for family, group in (('count', 'coarse'), ('digits', 'fine')):
    for target, accuracy, flops in (
      (dict(budget=0.3, promised=0.3, delivered=0.315), 0.6, 1e9),
      (dict(budget=0.5, promised=0.5, delivered=0.49), 0.7, 2e9),
      (dict(drop=0.01, promised=0.99, delivered=0.98), 0.8, 3e9),
      (dict(drop=0.5, promised=0.5, delivered=None), 0.5, 1e9),
    ):
      row = make(family, group, None, accuracy, 100, flops, 8.0, 'router')
      yield row | target


def rivals():
  """fastv costs more than max and better on fine; m3 cheaper than min."""
  for method, fine, flops in (
    ('fastv:2:0.5', 0.9, 9e9),
    ('m3:2', 0.05, 1e8),
    ('m3:1', 0.2, 2e9),
  ):
    for family, group, accuracy, n in (
      ('count', 'coarse', 0.8, 100),
      ('colour', 'coarse', 0.6, 300),
      ('digits', 'fine', fine, 100),
    ):
      row = make(family, group, None, accuracy, n, flops, 2.0, 'base')
      yield row | {'method': method}
