"""What analyses found, on the page."""

import json
import re
from xml.etree import ElementTree

import pytest

from visor_jax.report import page

EVIL = '<b>&"$x$'
ROW = dict(
  family=EVIL,
  group='fine',
  selector='fixed',
  plan=[1],
  accuracy=0.5,
  n=8,
  llm_prefill_flops=1e6,
  flops_saved=2.0,
  config='abc',
)
NAMES = ('question_to_image', 'answer_to_image', 'answer_to_question', 'read')


def shares(*kinds):
  return dict(
    kinds=kinds,
    shares={
      'fine': {n: [0.5] * len(kinds) for n in NAMES},
      'coarse': {n: [None] * len(kinds) for n in NAMES},
    },
  )


def cka(*layers):
  n = len(layers)
  return dict(
    layers=layers,
    cka={'fine': [[1 / (1 + abs(i - j)) for i in range(n)] for j in range(n)]},
  )


def responses(families, tree):
  return dict(
    kinds=['self'] * 3,
    dropped=[[], [0], [0, 1]],
    groups={f: 'coarse' if f == 'a' else 'fine' for f in families},
    accuracy={f: [0.9, 0.5, 0.1] for f in families},
    families=families,
    constant=[] if tree else families,
    correlation=tree and [[1.0] * 3] * 3,
    linkage=tree and [[0, 1, 0.1, 2], [2, 3, 0.5, 3]],
    agreement=tree and 2 / 3,
    split=tree and dict(zip(families, ('fine', 'fine', 'coarse'))),
  )


NUMBERS = {
  'attention': {'base': shares('self', 'self'), 'max': shares('text', 'cross')},
  'cka': {'base': cka(None, 0, 1), 'min': cka(None)},
  'drop': {
    'base': responses(['a', 'b', EVIL], True),
    'max': responses(['a', 'b'], None),
  },
  'unseen': dict(
    without=[EVIL],
    families=[
      dict(family=f, group='fine', left_out=f == EVIL, n=4)
      | {
        who: dict(accuracy=0.25, flops=1e6)
        for who in ('ordinary', 'without', 'max')
      }
      for f in ('a', EVIL)
    ],
  ),
  'length': dict(
    lengths=[16, 64, 256],
    text=60,
    accounting='Nominal.',
    curves={'base': [1e6, 2e6, 4e6], 'fastv': [1e6] * 3},
  ),
}


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  (folder / 'results.jsonl').write_text(json.dumps(ROW))
  (folder / 'analysis').mkdir()
  for name, numbers in NUMBERS.items():
    (folder / f'analysis/{name}.json').write_text(
      json.dumps(
        dict(options=dict(examples=1234), config='abc', numbers=numbers)
      )
    )
  return page.write(folder, folder).read_text()


def test_every_analysis_has_its_place(text):
  for title in (
    'Where text looks',
    'How much visual features change',
    'Which layers need the image',
    'A router on families it has not seen',
    'Cost by the length of the image',
  ):
    assert f'<h2>{title}</h2>' in text
  labels = re.findall(r'<svg [^>]*aria-label="([^"]*)"', text)
  assert labels[-11:] == [
    'attention shares, plan base',
    'attention shares, plan max',
    'what text takes from the image',
    'CKA of visual features, plan base',
    'CKA between layers, plan base, fine',
    'accuracy without the image, plan base',
    'families that respond alike, plan base',
    'accuracy without the image, plan max',
    'routers by family, accuracy',
    'routers by family, flops',
    'cost by visual tokens',
  ]
  for sentence in (
    'From 1,234 test questions',
    'Plan min leaves the image',
    'the suite&#x27;s for 66.7 % of families',
    'the ordinary one reaches 25.0 %',
  ):
    assert sentence in text
  assert 'Of another config' not in text


def test_drawings_are_sound_and_what_others_wrote_is_escaped(text):
  assert EVIL not in text and '<b>' not in text
  for drawing in re.findall(r'<svg .*?</svg>', text, flags=re.DOTALL):
    ElementTree.fromstring(drawing)


def test_an_analysis_of_another_run_is_doubted(tmp_path):
  (tmp_path / 'results.jsonl').write_text(json.dumps(ROW | {'config': 'xyz'}))
  (tmp_path / 'analysis').mkdir()
  (tmp_path / 'analysis/length.json').write_text(
    json.dumps(dict(options={}, config='abc', numbers=NUMBERS['length']))
  )
  text = page.write(tmp_path, tmp_path).read_text()
  assert 'Of another config than the results: length' in text
