"""Runs of one recipe on one page."""

import json

import pytest

from tests.report import result_rows
from tests.report import workdirs
from visor_jax.report import page
from visor_jax.report import read
from visor_jax.report import repeats


@pytest.fixture
def seeds(tmp_path):
  """Two runs; the second is ten points better on all that it answers."""
  folders = []
  for seed in (0, 1):
    folder = tmp_path / f'seed{seed}' / 'run'
    folder.mkdir(parents=True)
    rows = [
      row | dict(accuracy=row['accuracy'] + 0.1 * seed)
      for row in result_rows.rows()
    ]
    (folder / 'results.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    (folder / 'config.json').write_text(json.dumps({'seed': seed, 'a': 3}))
    folders.append(folder)
  return folders


def test_a_line_has_the_runs_their_mean_and_their_range(seeds):
  table = repeats.table(read.joined(*seeds).repeats)
  header = ('plan', 'of', 'seed0/run', 'seed1/run', 'mean', 'lowest', 'highest')
  assert table.header == header
  fine = ('max', 'fine %', '50.0', '60.0', '55.0', '50.0', '60.0')
  assert fine in table.lines
  cost = ('router', '% of max cost', '55.0', '55.0', '55.0', '55.0', '55.0')
  assert cost in table.lines


def test_what_they_differ_in_is_said(seeds):
  configs = read.joined(*seeds).configs
  said = repeats.differences(configs)
  assert said == 'They differ in seed: 0 (seed0/run), 1 (seed1/run).'


def test_a_page_has_them_run_by_run_and_the_rest_of_the_first(seeds, tmp_path):
  text = page.write(seeds[0], tmp_path, seeds[1]).read_text('utf-8')
  assert '<h2>Run by run</h2>' in text and f'of {seeds[0]}.' in text
  assert '67.5 %' not in text and 'differ in seed:' in text


def test_a_run_without_results_of_a_plan_has_a_dash(seeds):
  rows = [r for r in result_rows.rows() if r['selector'] != 'router']
  (seeds[1] / 'results.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  lines = repeats.table(read.joined(*seeds).repeats).lines
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
  table = repeats.table(read.joined(*seeds).repeats)
  fine = [line for line in table.lines if line[:2] == ('shortv:0.5', 'fine %')]
  assert len(fine) == 1 and '-' not in fine[0]
  assert not any('shortv:1' in line[0] for line in table.lines)


def test_runs_of_other_plans_stand_beside_and_are_no_repeats(tmp_path):
  workdirs.fill(tmp_path)
  assert not read.joined(tmp_path).repeats
