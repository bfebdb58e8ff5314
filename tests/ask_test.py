"""The command: an answer, who gave it, and what is wrong with a question."""

import io
import json
import pathlib
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


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
  """Programs of this process are not kept: the setting would outlive a test."""
  monkeypatch.setattr(
    ask.compilation_cache,
    'use_beside',
    lambda checkpoint: pathlib.Path(checkpoint, 'compiled'),
  )


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
  # Programs are there for the next time.
  assert any(pathlib.Path(model.source, 'compiled').rglob('*-cache'))


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
    (['--index', '3'], 'give --image or --index'),
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


def ask_lines(model, page, monkeypatch, lines, *args):
  monkeypatch.setattr('sys.stdin', io.StringIO(lines))
  asked = ['--checkpoint', model.source, '--image', page, '--max-new-tokens']
  return ask.main([*asked, '5', *args])


def test_questions_are_asked_one_after_the_other(
  model, page, monkeypatch, capsys
):
  """Given, or read line by line; the image is read once."""
  want = [model.generate(page, p, max_new_tokens=5) for p in ('Hm?', 'Why?')]
  given = ('--prompt', 'Hm?', '--prompt', 'Why?')
  for lines, args in (('', given), ('Hm?\n\nWhy?\n', ())):
    assert ask_lines(model, page, monkeypatch, lines, *args) == 0
    printed = capsys.readouterr()
    assert printed.out == ''.join(f'{answer.text}\n' for answer in want)
    assert printed.err.count('the image was read before') == 1


def test_a_line_that_cannot_be_asked_is_told(model, page, monkeypatch, capsys):
  lines = '<image><image>?\nWhy?\n'
  assert ask_lines(model, page, monkeypatch, lines, '--json') == 1
  printed = capsys.readouterr()
  assert 'error: ' in printed.err and len(printed.out.splitlines()) == 1


def test_a_chat_remembers(model, page, monkeypatch, capsys):
  lines = 'Hm?\nWhy?\n'
  assert ask_lines(model, page, monkeypatch, lines, '--json', '--chat') == 0
  first, second = map(json.loads, capsys.readouterr().out.splitlines())
  history = [('Hm?', first['text'])]
  want = model.read(page).ask('Why?', max_new_tokens=5, history=history)
  assert second['text'] == want.text
  assert second['text_tokens'] == want.text_tokens > first['text_tokens']
