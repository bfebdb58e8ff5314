"""Runs of one recipe on one page."""

import json

import pytest

from tests.report import result_rows
from tests.report import workdirs
from visor_jax.report import page
from visor_jax.report import repeats


def _write(folder, rows, **config):
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'results.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  if config:
    (folder / 'config.json').write_text(json.dumps(config))


@pytest.fixture
def seeds(tmp_path):
  """Two runs; the second is ten points better on all that it answers."""
  folders = []
  for seed in (0, 1):
    folder = tmp_path / f'seed{seed}' / 'run'
    rows = [
      row | dict(accuracy=row['accuracy'] + 0.1 * seed)
      for row in result_rows.rows()
    ]
    _write(folder, rows, seed=seed, a=3)
    folders.append(folder)
  return folders


def test_a_line_has_the_runs_their_mean_and_their_range(seeds):
  table = repeats.table(repeats.joined(*seeds))
  header = ('plan', 'of', 'seed0/run', 'seed1/run', 'mean', 'lowest', 'highest')
  assert table.header == header
  fine = ('max', 'fine %', '50.0', '60.0', '55.0', '50.0', '60.0')
  assert fine in table.lines
  cost = ('router', '% of max cost', '55.0', '55.0', '55.0', '55.0', '55.0')
  assert cost in table.lines


def test_what_they_differ_in_is_said(seeds):
  configs = repeats.joined(*seeds).configs
  said = repeats.differences(configs)
  assert said == 'They differ in seed: 0 (seed0/run), 1 (seed1/run).'


def test_a_page_has_them_run_by_run_and_the_rest_of_the_first(seeds, tmp_path):
  text = page.write(seeds[0], tmp_path, seeds[1]).read_text('utf-8')
  assert '<h2>Run by run</h2>' in text and f'of {seeds[0]}.' in text
  assert '67.5 %' not in text and 'differ in seed:' in text


def test_a_run_without_results_of_a_plan_has_a_dash(seeds):
  _write(seeds[1], [r for r in result_rows.rows() if r['selector'] != 'router'])
  lines = repeats.table(repeats.joined(*seeds)).lines
  assert ('router', 'fine %', '46.0', '-', '46.0', '46.0', '46.0') in lines


def test_methods_that_find_their_layers_are_told_by_what_was_asked(seeds):
  for layers, folder in zip(('0,2', '1'), seeds):
    rows = [
      row
      | dict(selector='base', plan=None, method=f'shortv:{layers}')
      | dict(method_asked='shortv:0.5')
      for row in result_rows.rows()[:3]
    ]
    with (folder / 'results.jsonl').open('a') as file:
      file.write('\n' + '\n'.join(map(json.dumps, rows)))
  table = repeats.table(repeats.joined(*seeds))
  fine = [line for line in table.lines if line[:2] == ('shortv:0.5', 'fine %')]
  assert len(fine) == 1 and '-' not in fine[0]
  assert not any('shortv:1' in line[0] for line in table.lines)


def test_runs_of_other_plans_stand_beside_and_are_no_repeats(tmp_path):
  workdirs.fill(tmp_path)
  assert not repeats.joined(tmp_path).repeats


_CONFIG = {
  'data.suite': 'pages',
  'data.pages.unseen': '',
  'data.pages.primers.base': [3, 4],
  'data.digits.frames': 1,
  'eval.score': 'relaxed',
}


@pytest.mark.parametrize(
  'key, value',
  (
    ('data.suite', 'digits'),
    ('data.pages.unseen', 'kind'),
    ('eval.score', 'exact'),
  ),
)
def test_runs_that_were_asked_otherwise_share_no_page(tmp_path, key, value):
  one, two = tmp_path / 'one', tmp_path / 'two'
  _write(one, result_rows.rows(), **_CONFIG)
  _write(two, result_rows.rows(), **_CONFIG | {key: value})
  said = f'{one} and {two} were not asked alike: {key} is '
  with pytest.raises(ValueError, match=said):
    repeats.joined(one, two)


@pytest.mark.parametrize(
  'change, said',
  (
    (dict(n=50), '100 and 50 questions of count under max'),
    (dict(group='fine'), 'count is coarse and fine'),
    (dict(family='shape'), '100 and 0 questions of count under max'),
  ),
)
def test_other_families_or_counts_are_no_repeat(tmp_path, change, said):
  one, two, rows = tmp_path / 'one', tmp_path / 'two', result_rows.rows()
  _write(one, rows)
  _write(two, [r | change if r['family'] == 'count' else r for r in rows])
  with pytest.raises(ValueError, match=f'were not asked alike: {said};'):
    repeats.joined(one, two)


def test_what_is_learned_from_may_differ_and_older_configs_lack_keys(tmp_path):
  one, two, three = (tmp_path / name for name in ('one', 'two', 'three'))
  other = {'data.pages.primers.base': [5, 6], 'data.digits.frames': 2}
  _write(one, result_rows.rows(), **_CONFIG)
  _write(two, result_rows.rows(), **_CONFIG | other)
  _write(three, result_rows.rows(), seed=3)
  assert list(repeats.joined(one, two, three).repeats) == [one, two, three]


def test_several_workdirs_are_read_as_one(tmp_path):
  """What two of them have answered stands apart, run by run."""
  one, two = tmp_path / 'one', tmp_path / 'two'
  rows = result_rows.rows()
  _write(one, rows[:3])
  _write(two, rows[3:6])
  contents = repeats.joined(one, two)
  assert contents.rows == rows[:6] and contents.path == one
  assert not contents.repeats and contents.taken == {two: ['min']}
  _write(two, rows[:3])
  contents = repeats.joined(one, two)
  assert contents.rows == rows[:3] and list(contents.repeats) == [one, two]


def test_of_three_those_stand_run_by_run_that_answered_the_same(tmp_path):
  base, plans, others = (tmp_path / name for name in ('a', 'b', 'c'))
  rows = result_rows.rows()
  dense = [row | dict(selector='base', plan=None) for row in rows[:3]]
  _write(base, dense)
  _write(plans, rows, seed=0)
  _write(others, rows, seed=1)
  contents = repeats.joined(base, plans, others)
  assert contents.rows == [*dense, *rows]
  assert list(contents.repeats) == [plans, others]
  text = page.write(base, tmp_path, plans, others).read_text('utf-8')
  assert f'is of {base}; of {plans}: max, min, router.' in text
  assert 'differ in seed: 0 (b), 1 (c).' in text


def test_what_one_run_alone_answered_is_everywhere_on_the_page(seeds, tmp_path):
  """Though another plan was answered by both."""
  routed = [
    row | dict(budget=0.5, promised=0.5, delivered=0.52)
    for row in result_rows.rows()[6:]
  ]
  _write(seeds[1], [*result_rows.rows()[3:6], *routed])
  contents = repeats.joined(*seeds)
  assert contents.rows == [*result_rows.rows(), *routed]
  table = repeats.table(contents)
  cost = ('router@0.5', '% of max cost', '-', *['55.0'] * 4)
  assert cost in table.lines and 'run without max' in table.notes[0]
  text = page.write(seeds[0], tmp_path, seeds[1]).read_text('utf-8')
  assert f'is of {seeds[0]}; of {seeds[1]}: router@0.5.' in text
  assert 'Budgets: promised and delivered' in text
