"""Tables, against numbers worked out by hand."""

import pytest

from tests.report import result_rows
from visor_jax.report import sentences
from visor_jax.report import tables


def test_summary_holds_the_numbers():
  lines = tables.summary(result_rows.rows()).splitlines()
  cells = [[c.strip() for c in line.strip('|').split('|')] for line in lines]
  assert cells[0] == [
    'plan',
    'coarse %',
    'fine %',
    'all %',
    '± %',
    'LLM GFLOPs',
    'LLM saved',
    '% of max acc.',
    '% of max cost',
  ]
  assert cells[2] == [
    'max',
    '65.0',
    '50.0',
    '57.5',
    '2.8',
    '3.75',
    '2.00x',
    '100.0',
    '100.0',
  ]
  assert cells[4][0] == 'router'
  assert cells[4][-2:] == ['96.5', '55.0']
  assert len({len(line) for line in lines}) == 1  # aligned


def test_costs_end_to_end_come_first():
  rows = [result_rows.costly(row) for row in result_rows.rows()]
  header, _, largest, *_ = (
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in tables.summary(rows).splitlines()
  )
  assert header[5:9] == ['GFLOPs', 'saved', 'LLM GFLOPs', 'LLM saved']
  assert largest[5:9] == ['35.6', '1.50x', '3.75', '2.00x']


def test_families_table_has_a_line_for_each():
  text = tables.families(result_rows.rows())
  assert '| digits | fine   |       100 | 50.0 | 10.0 |   46.0 |' in text
  assert text.index('count') < text.index('digits')


def test_a_family_may_have_any_name():
  rows = [result_rows.make('a|b', 'fine', [1], 0.5, 10, 1e9, 1.0)]
  assert 'a\\|b' in tables.families(rows)


def test_a_family_without_its_judge_is_marked():
  rows = [
    r | {'judged': False} if r['family'] == 'count' else r
    for r in result_rows.rows()
  ]
  text = tables.families(rows)
  assert '| count†' in text and text.count('†') == 2 and 'judge' in text
  assert '†' not in tables.families(result_rows.rows())


def test_other_questions_are_marked_and_not_compared():
  rows = [
    r
    for r in result_rows.rows()
    if not (r['selector'] == 'router' and r['family'] == 'count')
  ]
  text = tables.summary(rows)
  assert 'router*' in text and 'not to be compared' in text
  assert 'keeps' not in sentences.verdict(rows)
  assert 'blindly' not in sentences.rivals(rows)


@pytest.mark.parametrize(
  'flops, unit',
  ((5e5, 'kFLOPs'), (3e7, 'MFLOPs'), (6e11, 'GFLOPs'), (4e12, 'TFLOPs')),
)
def test_unit_fits_the_size(flops, unit):
  assert tables.flops_unit([flops])[1] == unit
