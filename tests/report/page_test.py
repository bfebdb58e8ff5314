"""The page as a whole, on a small synthetic workdir."""

import html.parser
import json
import re
import subprocess
from xml.etree import ElementTree

import pytest

from tests.report import result_rows
from tests.report import workdirs
from visor_jax.report import colours
from visor_jax.report import page


def _drawings(text):
  return re.findall(r'<svg .*?</svg>', text, flags=re.DOTALL)


@pytest.fixture(name='full', scope='module')
def _full(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('full')
  workdirs.fill_all(workdir)
  return page.write(workdir, workdir / 'out' / 'deep').read_text('utf-8')


def test_has_all_parts(full):
  for heading in (
    'Accuracy against cost',
    'What each family loses',
    'What the router chose',
    'How sure the router must be',
    'What the search found',
    'Training',
    'Every family',
    'Where this comes from',
  ):
    assert f'<h2>{heading}</h2>' in full
  labels = re.findall(r'<svg [^>]*aria-label="([^"]*)"', full)
  assert labels == [
    'accuracy against cost, LLM prefill, coarse',
    'accuracy against cost, LLM prefill, fine',
    'accuracy by family and plan',
    'plans chosen by the router',
    'calibration of the router',
    'search for viable plans',
    'loss of the full stage',
    'loss of the policy stage',
  ]
  assert 'FLOPs, not MACs &amp; prefill only.' in full
  assert '<strong>98.6&nbsp;%</strong>' in full  # .69 of .7
  assert '<dt>config</dt><dd>3fa9c1</dd>' in full
  assert '<dt>jax</dt><dd>0.10.2</dd>' in full


def test_is_self_contained(full):
  """Nothing to fetch; names of XML dialects are no fetches."""
  text = re.sub(r'xmlns(:\w+)?="[^"]*"', '', full)
  assert re.findall('<script[^>]*>', text) == ['<script>']  # our own
  assert '<link' not in text and '@import' not in text
  assert not re.search(r'https?:|url\((?!#)', text)
  assert all(t.startswith('#') for t in re.findall(r'href="([^"]*)"', text))


def test_what_others_wrote_is_escaped(full):
  assert workdirs.EVIL not in full and '<b>' not in full
  assert '&lt;b&gt;&amp;&quot;$x$' in full
  assert '</pre><script>' not in full and '&lt;/pre&gt;' in full


def test_tags_are_closed_and_drawings_are_xml(full):
  parser = _Nesting()
  parser.feed(full)
  assert parser.open == []
  for drawing in _drawings(full):
    ElementTree.fromstring(drawing)


def test_drawings_take_their_colours_from_the_page(full):
  for stand_in in (colours.INK, colours.SOFT, colours.LINE, colours.PAPER):
    assert stand_in not in full
  assert 'var(--ink)' in full and 'prefers-color-scheme: dark' in full


def test_a_plan_has_one_colour(full):
  chips = re.findall(r'<i style="background:([^"]*)"></i>([\w,]+)', full)
  colours_of = {name: {c for c, n in chips if n == name} for _, name in chips}
  assert set(colours_of) == {'base', 'router', *workdirs.PLANS}
  assert all(len(of_name) == 1 for of_name in colours_of.values())
  assert len(set.union(*colours_of.values())) == len(colours_of)


def test_a_number_is_not_taken_for_a_plan(tmp_path):
  rows = [row | {'n': 1} for row in workdirs.rows()]
  (tmp_path / 'results.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  text = page.write(tmp_path, tmp_path).read_text('utf-8')
  assert '<td>1</td>' in text


def test_writing_again_changes_nothing(full, tmp_path):
  workdirs.fill_all(tmp_path)
  again = page.write(tmp_path, tmp_path).read_text('utf-8')
  assert _drawings(again) == _drawings(full)


def test_the_search_says_what_it_saved(full):
  assert '384 of 2048 questions were saved' in full
  assert '± 2.0, 512 questions' in full


def test_optional_files_may_be_missing(tmp_path):
  workdirs.fill(tmp_path)
  text = page.write(tmp_path, tmp_path).read_text('utf-8')
  assert 'Accuracy against cost' in text and 'What the router chose' in text
  for heading in ('How sure', 'What the search', 'Training', '<details>'):
    assert heading not in text


def test_a_stage_that_the_config_does_not_know_is_shown_behind_the_others(
  tmp_path,
):
  workdirs.fill_all(tmp_path)
  (tmp_path / 'annealing').mkdir()
  (tmp_path / 'annealing' / 'metrics.jsonl').write_text(
    '{"step": 1, "loss": 2.5}'
  )
  text = page.write(tmp_path, tmp_path).read_text('utf-8')
  assert re.findall(r'aria-label="loss of the (\w+) stage"', text) == [
    'full',
    'policy',
    'annealing',
  ]


def test_costs_and_promises_are_shown(tmp_path):
  (tmp_path / 'results.jsonl').write_text(
    '\n'.join(map(json.dumps, workdirs.targets()))
  )
  text = page.write(tmp_path, tmp_path).read_text('utf-8')
  for heading in (
    'What it costs',
    'Budgets: promised and delivered',
    'What the router chose',
  ):
    assert text.count(f'<h2>{heading}</h2>') == 1
  assert 'aria-label="promised and delivered"' in text
  chips = re.findall(
    r'<i style="background:([^"]*)"></i>(router[@\-\d.]*)<', text
  )
  assert {n for _, n in chips} == {'router', 'router@0.5', 'router-0.01'}
  assert {c for c, _ in chips} == {colours.ROUTER}


def test_a_router_with_targets_alone(tmp_path):
  rows = [r for r in workdirs.targets() if 'promised' in r]
  (tmp_path / 'results.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  text = page.write(tmp_path, tmp_path).read_text('utf-8')
  assert 'promised and delivered' in text
  assert 'What the router chose' not in text


def test_one_row_is_enough(tmp_path):
  row = next(r for r in workdirs.rows() if r['selector'] == 'fixed')
  (tmp_path / 'results.jsonl').write_text(json.dumps(row))
  assert 'Neither the router' in page.write(tmp_path, tmp_path).read_text()


def test_rows_of_different_runs_are_doubted(tmp_path):
  rows = list(workdirs.rows())
  rows[0]['config'] = 'other'
  (tmp_path / 'results.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  assert 'differ in config' in page.write(tmp_path, tmp_path).read_text()


def test_rivals_stand_beside_the_plans(tmp_path):
  """A line for the settings of a method, in its own colour."""
  rows = list(workdirs.rows())
  for method, plan in (
    ('fastv:2:0.5', None),
    ('fastv:2:0.25', None),
    ('pack:2', [0, 0]),
  ):
    rows += [
      r
      | dict(
        selector='fixed' if plan else 'base',
        plan=plan,
        method=method,
        chosen=None,
      )
      for r in rows[:1] + rows[5:6]
    ]
  (tmp_path / 'results.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  text = page.write(tmp_path, tmp_path / 'out').read_text('utf-8')
  for name in ('fastv:2:0.25', 'min pack:2', 'VISOR + pack:2'):
    assert name in text
  assert colours.METHODS['fastv'] in text and colours.METHODS['pack'] in text
  legend = re.search(r'<p class="legend">.*?</p>', text, re.DOTALL)[0]
  assert 'fastv' not in legend and 'pack' not in legend


def test_cost_is_end_to_end_first_then_of_the_llm_then_time(tmp_path):
  """Where rows say it, and were measured."""
  rows = [
    json.dumps(result_rows.costly(row, 1 + len(row['plan'] or ())))
    for row in workdirs.rows()
  ]
  (tmp_path / 'results.jsonl').write_text('\n'.join(rows))
  text = page.write(tmp_path, tmp_path / 'out').read_text('utf-8')
  labels = re.findall(r'aria-label="accuracy against cost, ([^"]*)"', text)
  assert labels == [
    f'{of}, {group}'
    for of in ('end to end', 'LLM prefill', 'first tokens of a batch')
    for group in ('coarse', 'fine')
  ]


def test_marks_say_what_they_are_where_somebody_points(full):
  told = re.findall(r'<g><title>([^<]*)</title>', full)
  assert 'max: 70.0 % (63.3 to 75.9), saves 2.67x of LLM prefill' in told
  assert 'min: 120 of 200 questions' in told
  assert any('min on count: 30.0 % of 200; 19 times' in text for text in told)
  assert 'hover ' not in full


@pytest.mark.drill
def test_a_click_on_a_head_sorts(full, tmp_path):
  """In Chromium: largest first, then smallest."""
  order = []
  for clicks in (1, 2):
    script = "document.querySelectorAll('.sorts th')[3].click();" * clicks
    page_file = tmp_path / 'page.html'
    page_file.write_text(full.replace('</body>', f'<script>{script}</script>'))
    done = subprocess.run(
      ['chromium', '--headless', '--no-sandbox', '--dump-dom', page_file],
      capture_output=True,
      text=True,
      check=True,
    )
    body = re.search('<tbody>(.*?)</tbody>', done.stdout, re.DOTALL)[1]
    lines = re.findall('<tr>(.*?)</tr>', body, re.DOTALL)
    order.append([re.findall(r'<td>([\d.]+)</td>', line)[2] for line in lines])
  assert order == [
    ['70.0', '70.0', '69.0', '50.0', '30.0'],
    ['30.0', '50.0', '69.0', '70.0', '70.0'],
  ]


class _Nesting(html.parser.HTMLParser):
  """Remembers which tags are open."""

  def __init__(self):
    super().__init__()
    self.open = []

  def handle_starttag(self, tag, attrs):
    if tag not in ('meta', 'img', 'br'):
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    pass

  def handle_endtag(self, tag):
    assert self.open.pop() == tag
