"""What answers cost, and whether budgets were kept, as tables."""

from visor_jax.report import average
from visor_jax.report import tables

_COUNTED = (
  'llm_prefill_flops',
  'visual_flops',
  'vision_flops',
  'decode_flops',
  'total_flops',
)
_NONE = '-'


def table(rows) -> tables.Table | None:
  """A line per selection, questions weighed as everywhere; None without costs.

  Counted columns are means per question, measured ones of the whole batch.
  """
  found = [
    (
      s.name,
      [
        r
        for r in average.latest(rows)
        if average.name(r) == s.name and 'total_flops' in r
      ],
    )
    for s in average.scores(rows)
  ]
  found = [(name, some) for name, some in found if some]
  if not found:
    return None
  of = lambda some, key: average.over(some, lambda row: row[key])
  scale, unit = tables.flops_unit(of(some, 'total_flops') for _, some in found)
  lines, taken = [], {}
  for name, some in found:
    saved = average.over(some, lambda r: r['total_flops'] * r['total_saved'])
    line = [
      name,
      *(tables.number(of(some, key) / scale) for key in _COUNTED),
      tables.number(saved / of(some, 'total_flops')) + 'x',
      tables.number(of(some, 'cache_bytes') / 1e3),
    ]
    time = some[0].get('measured')
    if time:
      taken.setdefault((time['device'], time['devices'], time['batch']), [])
      line += [
        tables.number(1e3 * time['first_token_s']),
        tables.number(time['tokens_per_s']),
        tables.number(time['peak_bytes'] / 1e6),
      ]
    lines.append((*line, *(_NONE,) * (11 - len(line))))
  notes = [
    f'Measured on {n} {device} device(s), batches of {batch} questions, '
    'compiled, warmed and blocked; memory is that of the program that '
    'needs most, parameters included.'
    for device, n, batch in taken
  ]
  return tables.Table(
    (
      'plan',
      f'LLM prefill, {unit}',
      'of it visual',
      'vision',
      'decoding',
      'total',
      'saved in all',
      'cache, kB',
      'first token, ms',
      'tokens/s',
      'memory, MB',
    ),
    tuple(lines),
    tuple(notes),
  )


def promises(rows) -> list[dict]:
  """Of every selection with a target one row, those with a budget last."""
  some = {
    average.name(r): r
    for r in average.latest(rows)
    if r.get('delivered') is not None
  }
  return sorted(some.values(), key=lambda r: ('budget' in r, r['promised']))


def promises_table(rows) -> tables.Table:
  """A line for each of `promises`."""
  scores, lines = {s.name: s.all for s in average.scores(rows)}, []
  for row in promises(rows):
    mean, name = scores[average.name(row)], average.name(row)
    lines.append(
      (
        name,
        'cost' if 'budget' in row else 'accuracy',
        f'{row["promised"]:.3f}',
        f'{row["delivered"]:.3f}',
        f'{100 * (row["delivered"] / row["promised"] - 1):+.1f}',
        tables.percent(mean.accuracy),
        tables.percent(mean.error),
      )
    )
  return tables.Table(
    ('plan', "of max's", 'promised', 'delivered', 'off by %', 'all %', '± %'),
    tuple(lines),
    words=2,
  )
