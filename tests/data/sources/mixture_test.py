"""Mixtures: what each strategy takes of its datasets."""

import pytest

from tests.data.sources import files
from visor_jax.data.sources import readers


@pytest.fixture
def folder(tmp_path):
  return files.images(tmp_path)


@pytest.mark.parametrize(
  'strategy,expected',
  [
    ('all', range(7)),
    ('first:3', range(3)),
    ('end:3', range(4, 7)),
    ('first:20%', range(2)),
    ('end:20%', range(5, 7)),  # 1.4, rounded up
    ('first:0.1%', range(1)),
    ('first:99', range(7)),
    ('end:99', range(7)),
    ('end:100%', range(7)),
  ],
)
def test_a_mixture_takes_what_its_strategy_says(strategy, expected, folder):
  files.write_json(folder / 'a.json')
  files.write_jsonl(folder / 'b.jsonl', files.FIELDS[:2])
  path = files.write_yaml(
    folder / 'm.yaml', ('a.json', strategy), ('b.jsonl', 'all')
  )
  source = readers.open_source(path, folder / 'images')
  assert files.ids(source) == [*expected, 0, 1]
  assert source[len(source) - 1].turns[0].family == 'b'


def test_a_share_is_counted_exactly():
  """0.07 * 10000 is 700.0000000000001, which would round up to 701."""
  assert len(readers._chosen('first:7%', 10000, (0, 0))) == 700


def test_random_choices_hang_on_the_seed_alone(folder):
  """The numbers are written down: another numpy must draw the same."""
  rows = [dict(files.FIELDS[0], id=f'r{i}') for i in range(40)]
  files.write_json(folder / 'a.json', rows)
  path = files.write_yaml(
    folder / 'm.yaml', ('a.json', 'random:10%'), ('a.json', 'random:4')
  )
  drawn = [
    files.ids(readers.open_source(path, seed=seed)) for seed in (0, 0, 1)
  ]
  assert drawn[0] == drawn[1] == [3, 11, 13, 20, 7, 10, 18, 35]
  assert drawn[0] != drawn[2]
  assert drawn[0][:4] != drawn[0][4:], 'datasets draw apart'
  assert all(len(set(d[:4])) == 4 for d in drawn)


@pytest.mark.parametrize(
  'text,message',
  [
    ('datasets:\n- json_path: a.json\n  sampling_strategy: some', '"some"'),
    ('datasets:\n- json_path: a.json\n  sampling_strategy: first', '"first"'),
    ('datasets:\n- json_path: a.json\n  sampling_strategy: end:-1', '"end:-1"'),
    (
      'datasets:\n- json_path: a.json\n  sampling_strategy: end:0',
      'no records',
    ),
    ('datasets:\n- path: a.json', 'json_path'),
    ('[]', 'json_path'),
    ('datasets: [', 'json_path'),
    ('', 'json_path'),
    ('datasets:\n- json_path: gone.json', 'gone.json'),
    ('datasets: {a: b}', 'datasets are dict; expected'),
    ('datasets: [a.json]', 'dataset 1 is str; expected'),
    ('datasets: [{json_path: 3}]', 'dataset 1: json_path is 3'),
    ('datasets: [{json_path: m.yaml}]', 'this mixture is the mixture'),
    ('datasets: &a [*a]', 'dataset 1 is list'),
    ('[' * 9999, 'expected datasets'),
    ('\x00', 'expected datasets'),
  ],
)
def test_a_wrong_mixture_says_what_is_wrong(text, message, folder):
  files.write_json(folder / 'a.json')
  (folder / 'm.yaml').write_text(text)
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    readers.open_source(folder / 'm.yaml')


def test_a_seed_is_part_of_a_mixtures_fingerprint(folder):
  path = files.kinds(folder)['yaml']
  assert readers.open_source(path, seed=1).fingerprint != (
    readers.open_source(path, seed=2).fingerprint
  )


@pytest.mark.parametrize(
  'line, message',
  [
    (
      'sampling_stratergy: first:10%',
      'dataset 1 has the unknown key sampling_stratergy; keys are json_path, '
      'sampling_strategy$',
    ),
    ('repeat: 3', 'unknown key repeat'),
    ('weight: 0.1', 'unknown key weight'),
    ('image_folder: /data/other', 'unknown key image_folder'),
    ('3: 4', 'unknown key 3'),
    ('json_path: b.json', 'key "json_path" stands twice from line 2 on'),
  ],
)
def test_a_key_that_nobody_reads_is_refused(line, message, folder):
  """A typo in a strategy would take the whole set."""
  path = folder / 'm.yaml'
  path.write_text(f'datasets:\n- json_path: a.json\n  {line}\n')
  files.write_json(folder / 'a.json')
  with pytest.raises(ValueError, match=message):
    readers.open_source(path)


def test_a_key_beside_the_datasets_is_refused(folder):
  files.write_json(folder / 'a.json')
  path = files.write_yaml(folder / 'm.yaml', ('a.json', 'all'))
  good = path.read_text()
  path.write_text(good + 'seed: 3\n')
  with pytest.raises(ValueError, match='unknown key seed; keys are datasets$'):
    readers.open_source(path)
  path.write_text(good + good)
  with pytest.raises(ValueError, match='key "datasets" stands twice'):
    readers.open_source(path)


def test_a_mixture_may_hold_mixtures(folder):
  files.write_json(folder / 'a.json')
  files.write_yaml(folder / 'inner.yaml', ('a.json', 'first:2'))
  path = files.write_yaml(
    folder / 'm.yaml', ('inner.yaml', 'all'), ('inner.yaml', 'end:1')
  )
  assert files.ids(readers.open_source(path, folder / 'images')) == [0, 1, 1]
  files.write_yaml(folder / 'inner.yaml', ('m.yaml', 'all'))
  with pytest.raises(ValueError, match='this mixture is the mixture'):
    readers.open_source(path)
