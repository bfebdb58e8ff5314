"""What answers cost, and promises beside what came."""

from tests.report import result_rows
from visor_jax.report import costs


def test_costs_are_weighed_like_accuracy():
  table = costs.table([result_rows.costly(r) for r in result_rows.rows()])
  assert table.header[0] == 'plan' and 'GFLOPs' in table.header[1]
  line = {l[0]: l for l in table.lines}['max']
  # 3.75 G of prefill on average, as average_test works out.
  assert line == (
    'max',
    '3.75',
    '0.94',
    '30.0',
    '1.88',
    '35.6',
    '1.50x',
    '4.00',
    '250 (200 to 500)',
    '640',
    '2,000',
  )
  (note,) = table.notes
  assert '1 cpu device(s), batches of 8' in note


def test_costs_may_be_missing():
  """Rows of older runs, or of others."""
  assert costs.table(result_rows.rows()) is None
  rows = [
    result_rows.costly(r) | dict(measured=None) for r in result_rows.rows()
  ]
  table = costs.table(rows)
  assert {l[8:] for l in table.lines} == {('-', '-', '-')} and not table.notes


def test_promises_beside_what_came():
  rows = [*result_rows.rows(), *result_rows.promised()]
  table = costs.promises_table(rows)
  assert [l[:5] for l in table.lines] == [
    ('router-0.01', 'accuracy', '0.990', '0.980', '-1.0'),
    ('router@0.3', 'LLM cost', '0.300', '0.315', '+5.0'),
    ('router@0.5', 'LLM cost', '0.500', '0.490', '-2.0'),
  ]
  assert table.lines[1][5] == '60.0'
