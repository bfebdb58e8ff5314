"""The command: an answer, who gave it, and what is wrong with a question."""

import json
import subprocess
import sys

import pytest

from tests import llava
from tests import questions
import visor_jax
from visor_jax import ask
from visor_jax.convert import __main__ as convert


@pytest.fixture(scope='module')
def oracle(tmp_path_factory):
  return llava.Oracle(tmp_path_factory.mktemp('llava') / 'hf', tied=False)


@pytest.fixture(scope='module')
def model(oracle):
  return visor_jax.load(oracle.folder)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  path = tmp_path_factory.mktemp('image') / 'page.png'
  questions.PICTURES[0][0].save(path)
  return str(path)


def door(*args):
  """Exit status, stdout and stderr of `python -m visor_jax.ask`."""
  done = subprocess.run(
    [sys.executable, '-m', 'visor_jax.ask', *args],
    capture_output=True,
    text=True,
    check=False,
  )
  return done.returncode, done.stdout, done.stderr


def test_ask_prints_the_answer_and_who_gave_it(model, page):
  status, out, err = door(
    '--checkpoint',
    model.source,
    '--image',
    page,
    '--prompt',
    questions.PROMPTS[0],
    '--max-new-tokens',
    '5',
  )
  want = model.generate(*questions.ASKED[0], max_new_tokens=5)
  assert status == 0 and out == want.text + '\n'
  assert 'plan base, the dense model' in err and 'GFLOPs' in err


def test_ask_prints_json(model, page, capsys):
  assert (
    ask.main(
      [
        '--checkpoint',
        model.source,
        '--image',
        page,
        '--prompt',
        questions.PROMPTS[0],
        '--json',
        '--max-new-tokens',
        '5',
      ]
    )
    == 0
  )
  printed = json.loads(capsys.readouterr().out)
  assert (
    printed['text']
    == model.generate(*questions.ASKED[0], max_new_tokens=5).text
  )
  assert printed['plan'] is None and printed['selector'] == 'base'


@pytest.mark.parametrize(
  'args,why',
  [
    (['--plan', 'max'], 'VISOR is untrained'),
    (['--image', '/no/such.png'], 'such.png'),
    (['--checkpoint', '/no/such'], '/no/such'),
  ],
)
def test_ask_says_what_is_wrong(model, page, capsys, args, why):
  assert (
    ask.main(
      ['--checkpoint', model.source, '--image', page, '--prompt', 'Hm?', *args]
    )
    == 1
  )
  printed = capsys.readouterr()
  last = printed.err.splitlines()[-1]  # what comes before is progress
  assert last.startswith('error: ') and why in last and not printed.out


def test_there_and_back(oracle, model, page, tmp_path, capsys):
  """Import, ask, export, ask again: the same answer."""
  there, back = str(tmp_path / 'ckpt'), str(tmp_path / 'hf')
  assert convert.main(['import', '--src', model.source, '--out', there]) == 0
  assert convert.main(['export', '--src', there, '--out', back]) == 0
  capsys.readouterr()
  printed = []
  for folder in (model.source, there, back):
    assert (
      ask.main(
        [
          '--checkpoint',
          folder,
          '--image',
          page,
          '--prompt',
          questions.PROMPTS[0],
          '--max-new-tokens',
          '9',
        ]
      )
      == 0
    )
    printed.append(capsys.readouterr().out)
  assert len(set(printed)) == 1 and printed[0].strip()
