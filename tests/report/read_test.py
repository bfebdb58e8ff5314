"""What is missing or broken is named, with the line."""

import json

import pytest

from tests.report import result_rows
from visor_jax.report import read
from visor_jax.runtime import checksums

_ROW = {
  'family': 'count',
  'group': 'coarse',
  'selector': 'fixed',
  'plan': [1],
  'accuracy': 0.5,
  'n': 4,
  'llm_prefill_flops': 1e9,
  'flops_saved': 2.0,
}
# With all else that a report reads.
_FULL = result_rows.costly(
  _ROW,
  budget=0.5,
  budget_of='total',
  promised=0.5,
  delivered=0.52,
  method='pack:2',
  method_asked='pack:2',
  too_long=0,
  judged=False,
  accounting='nominal',
  config='3fa9c1',
  seed=7,
  versions={'jax': '0.10.2'},
)


def _write(workdir, *lines):
  (workdir / 'results.jsonl').write_text('\n'.join(lines) + '\n')


def test_no_results_names_the_file_and_the_command(tmp_path):
  with pytest.raises(FileNotFoundError) as e:
    read.contents(tmp_path)
  assert str(tmp_path / 'results.jsonl') in str(e.value)
  assert 'python -m visor_jax.main' in str(e.value)


def test_empty_results(tmp_path):
  _write(tmp_path, '')
  with pytest.raises(ValueError, match='is empty'):
    read.results(tmp_path)


def test_all_but_the_results_may_be_missing(tmp_path):
  _write(tmp_path, json.dumps(_ROW), '', json.dumps(_ROW))
  contents = read.contents(tmp_path)
  assert len(contents.rows) == 2
  assert contents.metrics == {} and contents.search is None
  assert not contents.config


@pytest.mark.parametrize('line', ('{"family": "co', '[1]', 'nan'))
def test_a_broken_line_names_file_and_line(tmp_path, line):
  _write(tmp_path, json.dumps(_ROW), '', line)
  with pytest.raises(ValueError, match=r'results\.jsonl, line 3: '):
    read.results(tmp_path)


@pytest.mark.parametrize(
  'key, value',
  (
    ('family', None),
    ('group', 'easy'),
    ('selector', 'best'),
    ('plan', None),
    ('accuracy', 55.0),
    ('accuracy', float('nan')),
    ('n', 0),
    ('n', 1.5),
    ('n', True),
    ('family', ' '),
    ('group', ['fine']),
    ('plan', [1, 'x']),
    ('llm_prefill_flops', 'many'),
    ('llm_prefill_flops', True),
    ('llm_prefill_flops', 10**400),
    ('flops_saved', float('inf')),
    ('total_flops', 'many'),
    ('total_flops', None),
    ('cache_bytes', -1),
    ('chosen', 3),
    ('chosen', {'every': 3}),
    ('chosen', {'max': 0}),
    ('budget', '0.5'),
    ('budget_of', None),
    ('drop', True),
    ('promised', 0),
    ('delivered', 'most'),
    ('method', 2),
    ('method_asked', ['pack:2']),
    ('measured', [0.2]),
    ('judged', 'no'),
    ('too_long', '3'),
    ('accounting', 2),
    ('config', {}),
    ('seed', 'none'),
    ('versions', ['0.1']),
  ),
)
def test_a_wrong_value_names_line_key_and_value(tmp_path, key, value):
  _write(tmp_path, json.dumps(_FULL), json.dumps(_FULL | {key: value}))
  with pytest.raises(ValueError, match=f'line 2: "{key}" is '):
    read.results(tmp_path)


@pytest.mark.parametrize(
  'key, value',
  (
    ('first_token_s', None),
    ('first_token_range_s', 0.2),
    ('tokens_per_s_range', [1.0, 'x']),
    ('batch', 0),
    ('device', 3),
    ('peak_bytes', 'few'),
  ),
)
def test_a_wrong_measurement_is_named(tmp_path, key, value):
  measured = _FULL['measured'] | {key: value}
  _write(tmp_path, json.dumps(_FULL | dict(measured=measured)))
  with pytest.raises(ValueError, match=f'line 1: "measured.{key}" is '):
    read.results(tmp_path)


@pytest.mark.parametrize(
  'key', (*_ROW, 'total_saved', 'vision_flops', 'promised', 'delivered')
)
def test_a_key_without_which_nothing_is_told_is_named(tmp_path, key):
  without = {k: value for k, value in _FULL.items() if k != key}
  _write(tmp_path, json.dumps(without | {'selector': 'router'}))
  if key == 'selector':
    _write(tmp_path, json.dumps(without))
  with pytest.raises(ValueError, match=f'line 1: "{key}" is missing'):
    read.results(tmp_path)


def test_a_measurement_that_lacks_a_key(tmp_path):
  _write(tmp_path, json.dumps(_FULL | dict(measured={'device': 'x'})))
  with pytest.raises(ValueError, match='"measured.first_token_s" is missing'):
    read.results(tmp_path)


def test_what_a_run_writes_is_right(tmp_path):
  of_router = dict(selector='router', plan=None, chosen={'max': 3, '0,2': 1})
  rows = [_ROW, _FULL, _FULL | of_router, _FULL | dict(measured=None, plan=[])]
  _write(tmp_path, *map(json.dumps, rows))
  assert read.results(tmp_path) == rows


def test_metrics_keep_rows_with_a_loss(tmp_path):
  _write(tmp_path, json.dumps(_ROW))
  (tmp_path / 'full').mkdir()
  log = tmp_path / 'full' / 'metrics.jsonl'
  log.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "accuracy": 0.5}\n')
  assert read.contents(tmp_path).metrics == {'full': [{'step': 1, 'loss': 2.5}]}
  log.write_text('{"step": 1, "loss": 2.5}\n{"step')
  with pytest.raises(ValueError, match=r'metrics\.jsonl, line 2: not JSON'):
    read.contents(tmp_path)


def test_stages_come_in_the_order_of_the_config_then_unknown_ones(tmp_path):
  _write(tmp_path, json.dumps(_ROW))
  config = {'base.steps': 1, 'policy.steps': 0, 'policy.batch': 8}
  (tmp_path / 'config.json').write_text(json.dumps(config))
  for stage in ('zoo', 'policy', 'annealing', 'base'):
    (tmp_path / stage).mkdir()
    (tmp_path / stage / 'metrics.jsonl').write_text('{"step": 1, "loss": 2.5}')
  assert [*read.contents(tmp_path).metrics] == [
    'base',
    'policy',
    'annealing',
    'zoo',
  ]


def test_a_file_that_lacks_a_key(tmp_path):
  _write(tmp_path, json.dumps(_ROW))
  (tmp_path / 'search').mkdir()
  (tmp_path / 'search' / 'plans.json').write_text('{"viable": []}')
  with pytest.raises(ValueError, match='plans.json lacks "evaluated"'):
    read.contents(tmp_path)


@pytest.mark.parametrize(
  'name', ['results.jsonl', 'search/plans.json', 'policy/calibration.json']
)
def test_a_file_that_lost_a_line_is_no_page(name, tmp_path):
  """A family, a plan or a point fewer would look as if that were all."""
  rows = [_ROW, _ROW | dict(family='docvqa')]
  for file, text in {
    'results.jsonl': ''.join(json.dumps(row) + '\n' for row in rows),
    'search/plans.json': '{"viable": [],\n "evaluated": [\n1,\n2\n]}',
    'policy/calibration.json': '{"confidence": 0.5, "curve": [\n1,\n2\n]}',
  }.items():
    checksums.write(tmp_path / file, text)
  assert len(read.contents(tmp_path).rows) == 2
  lines = (tmp_path / name).read_text().splitlines(True)
  (tmp_path / name).write_text(''.join(lines[:1] + lines[2:]))
  with pytest.raises(ValueError, match=f'{name} is not what was written'):
    read.contents(tmp_path)
