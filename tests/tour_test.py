"""docs/tour.ipynb runs from the first cell to the last."""

import json
import pathlib

import matplotlib
import pytest

from tests import tiny
from visor_jax.jobs import table

ROOT = pathlib.Path(__file__).parents[1]
TOUR = json.loads((ROOT / 'docs' / 'tour.ipynb').read_text())
CELLS = [
  ''.join(cell['source'])
  for cell in TOUR['cells']
  if cell['cell_type'] == 'code'
]


def test_every_cell_is_python_and_holds_no_output():
  for number, cell in enumerate(CELLS):
    compile(cell, f'cell {number}', 'exec')
  assert not any(cell.get('outputs') for cell in TOUR['cells'])


@pytest.mark.drill
def test_the_tour_can_be_taken(tmp_path, monkeypatch, capsys):
  """Of a run as small as it can be; what it answers is chance."""
  matplotlib.use('agg')
  monkeypatch.chdir(tmp_path)
  table.run_jobs(tiny.get_config(), tmp_path / 'runs' / 'quickstart')
  names = {}
  for cell in CELLS:
    # A router of so small a model takes two thirds of what it chooses among.
    exec(cell.replace('(0.5, 0.75, 1.0)', '(0.7, 0.85, 1.0)'), names)
  printed = capsys.readouterr().out
  assert '100%: ' in printed and 'max: ' in printed
  assert names['axes'][0].images[0].get_array().shape == (5, 2)
