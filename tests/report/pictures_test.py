"""The grid of questions with their pictures."""

import base64
import json
import re

import pytest

from tests.report import workdirs
from visor_jax.report import page
from visor_jax.report import pictures

PICTURE = base64.b64encode(b'\x89PNG').decode()


def row(family, kind, count, *shown):
  return dict(family=family, group='fine', kind=kind, count=count, shown=shown)


def shown(answer='yes', **other):
  asked = dict(index=7, question='<b>?', gold='yes', answer=answer)
  return (
    asked
    | dict(plan=[1, 1], answers=dict(min='no', max='yes'), picture=PICTURE)
    | other
  )


def test_a_family_has_a_line_and_a_kind_its_share():
  html = pictures.section(
    [
      row('same', 'cheap', 30, shown()),
      row('same', 'dear', 60),
      row('same', 'lost', 10),
    ],
    {'max': '#123456'},
  )
  assert re.findall(r'<td>(\d+)&nbsp;%', html) == ['30', '60', '0', '10']
  assert html.count('<figure') == 1 and f'base64,{PICTURE}"' in html
  assert '&lt;b&gt;?: <b>yes</b>' in html and '#123456' in html
  assert 'min: no\nmax: yes' in html


def test_a_wrong_answer_is_crossed_out():
  html = pictures.section([row('same', 'wrong', 1, shown('no'))], {})
  assert '<s>no</s> yes' in html


def test_a_picture_cannot_be_anything_else():
  evil = shown(picture='"><script>')
  with pytest.raises(ValueError):
    pictures.section([row('same', 'dear', 1, evil)], {})


def test_a_page_shows_them_where_there_are_some(tmp_path):
  workdirs.fill(tmp_path)
  title = 'Question by question'
  assert title not in page.write(tmp_path, tmp_path).read_text('utf-8')
  (tmp_path / 'eval').mkdir()
  (tmp_path / 'eval' / 'examples.jsonl').write_text(
    json.dumps(row('count', 'cheap', 3, shown()))
  )
  assert title in page.write(tmp_path, tmp_path).read_text('utf-8')
