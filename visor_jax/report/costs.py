"""What answers cost, and whether budgets were kept, as tables."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from visor_jax.report import average
from visor_jax.report import tables
from visor_jax.spec import shares

_COUNTED = (
  'llm_prefill_flops',
  'visual_flops',
  'vision_flops',
  'decode_flops',
  'total_flops',
)
_MEASURED_COLUMNS = 3


def table(rows: Iterable[average.Row]) -> tables.Table | None:
  """A line per selection, questions weighed as everywhere; None without costs.

  Counted columns are means per question, measured ones of the whole batch.
  """
  rows_of = _rows_with_costs(rows)
  if not rows_of:
    return None
  scale, unit = tables.flops_unit(
    _mean(costly, 'total_flops') for costly in rows_of.values()
  )
  lines: list[tuple[str, ...]] = []
  settings: dict[tuple[int, str, int], None] = {}  # in order, each once
  for name, costly in rows_of.items():
    measured = costly[0].get('measured')
    if measured:
      settings[measured['devices'], measured['device'], measured['batch']] = (
        None
      )
      times = (
        _spread(measured, 'first_token_s', 'first_token_range_s', 1e3),
        _spread(measured, 'tokens_per_s', 'tokens_per_s_range'),
        tables.number(measured['peak_bytes'] / 1e6),
      )
    else:
      times = (tables.NONE,) * _MEASURED_COLUMNS
    lines.append((name, *_counted(costly, scale), *times))
  notes = tuple(
    f'Measured on {count} {device} device(s), batches of {batch} questions, '
    'compiled, warmed and blocked: median, least and most; memory is that of '
    'the program that needs most, parameters included.'
    for count, device, batch in settings
  )
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
    notes,
  )


def _spread(
  measured: Mapping[str, Any], key: str, of: str, scale: float = 1
) -> str:
  """A median with its range, where rows say one."""
  numbers = [measured[key], *measured.get(of, ())]
  median, *ends = (tables.number(scale * number) for number in numbers)
  return f'{median} ({" to ".join(ends)})' if ends else median


def _rows_with_costs(
  rows: Iterable[average.Row],
) -> dict[str, list[average.Row]]:
  """{selection: its rows with costs}, those that have some."""
  latest = average.latest(rows)
  costly = {
    s.name: [
      row
      for row in latest
      if average.name(row) == s.name and 'total_flops' in row
    ]
    for s in average.summaries(latest)
  }
  return {name: of_name for name, of_name in costly.items() if of_name}


def _mean(rows: Sequence[average.Row], key: str) -> float:
  return average.per_question(rows, lambda row: row[key])


def _counted(rows: Sequence[average.Row], scale: float) -> tuple[str, ...]:
  """FLOPs by part in units of `scale`, what is saved, and the cache."""
  base_flops = average.per_question(
    rows, lambda row: row['total_flops'] * row['total_saved']
  )
  return (
    *(tables.number(_mean(rows, key) / scale) for key in _COUNTED),
    tables.number(base_flops / _mean(rows, 'total_flops')) + 'x',
    tables.number(_mean(rows, 'cache_bytes') / 1e3),
  )


def promises(rows: Iterable[average.Row]) -> list[average.Row]:
  """Of every selection with a target one row, those with a budget last."""
  delivered = {
    average.name(row): row
    for row in average.latest(rows)
    if row.get('delivered') is not None
  }
  return sorted(
    delivered.values(), key=lambda row: ('budget' in row, row['promised'])
  )


def _promised(row: average.Row) -> str:
  """What of max's a promise is about."""
  if 'budget' not in row:
    return 'accuracy'
  of = row.get('budget_of', shares.PREFILL)  # of older rows
  return {shares.PREFILL: 'LLM cost', shares.TOTAL: 'total cost'}[of]


def promises_table(rows: Sequence[average.Row]) -> tables.Table:
  """A line for each of `promises`."""
  means = {s.name: s.all for s in average.summaries(rows)}
  lines = []
  for row in promises(rows):
    name = average.name(row)
    lines.append(
      (
        name,
        _promised(row),
        f'{row["promised"]:.3f}',
        f'{row["delivered"]:.3f}',
        f'{100 * (row["delivered"] / row["promised"] - 1):+.1f}',
        tables.percent(means[name].accuracy),
        tables.percent(means[name].error),
      )
    )
  return tables.Table(
    ('plan', "of max's", 'promised', 'delivered', 'off by %', 'all %', '± %'),
    tuple(lines),
    words=2,
  )
