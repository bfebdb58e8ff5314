"""Three runs of one experiment, and one page over all of them."""

import json

import pytest

from launch import rivals


def write(folder, method, plan=None):
  folder.mkdir(parents=True)
  (folder / 'results.jsonl').write_text(
    ''.join(
      json.dumps(
        dict(
          family=f,
          group=g,
          selector='fixed' if plan else 'base',
          plan=plan,
          n=10,
          method=method,
          accuracy=0.5,
          llm_prefill_flops=1e6,
          flops_saved=2.0,
        )
      )
      + '\n'
      for f, g in (('a', 'coarse'), ('b', 'fine'))
    )
  )


def test_what_is_done_becomes_a_page(tmp_path, capsys):
  write(tmp_path / 'visor', '', [1])
  write(tmp_path / 'dense', 'fastv:2:0.5')
  write(tmp_path / 'm3', 'm3:2')
  assert rivals.main([f'--workdir={tmp_path}']) == 0
  text = (tmp_path / 'report' / 'index.html').read_text()
  printed = capsys.readouterr().out
  for name in ('max', 'fastv:2:0.5', 'm3:2', 'On the fine group'):
    assert name in text and name in printed


@pytest.mark.parametrize(
  'experiment,command,code,end',
  [
    ('rivals', '/bin/echo', 0, 'done'),
    ('pages', '/bin/echo', 0, 'done'),
    ('rivals', '/bin/false', 1, 'ended with code 1'),
  ],
)
def test_runs_of_the_experiment(
  tmp_path, monkeypatch, capsys, experiment, command, code, end
):
  """All take the same share of steps and the same keys."""
  monkeypatch.setattr(rivals.sys, 'executable', command)
  assert (
    rivals.main(
      [
        f'--workdir={tmp_path}',
        f'--experiment={experiment}',
        '--runs=dense,tr2',
        '--share=0.5',
        '--jobs=1',
        '--',
        '--config.seed=1',
      ]
    )
    == code
  )
  printed = capsys.readouterr().out
  for name in ('dense', 'tr2'):
    assert f'{name}: {end}' in printed
    if code == 0:
      line = (tmp_path / f'{name}.log').read_text()
      assert f'{experiment}.py:run={name},share=0.5 ' in line
      assert line.endswith('--config.seed=1\n')
  assert not (tmp_path / 'report').exists()
