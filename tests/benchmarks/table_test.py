"""Benchmarks, word for word and number for number as the harness has them.

oracle.json.gz holds what lmms-eval makes of the pairs of pairs.py; oracle.py
wrote it.
"""

import gzip
import json
import pathlib

import pytest

from tests.benchmarks import pairs
from visor_jax.benchmarks import scores
from visor_jax.benchmarks import table

FILE = pathlib.Path(__file__).parent / 'oracle.json.gz'
ORACLE = json.loads(gzip.decompress(FILE.read_bytes()))
NAMES = list(table.BENCHMARKS)
# (ours, the harness's), scale: parts of a detail that it gives as metrics.
METRICS = {
  'chartqa': {
    'human': 'relaxed_human_split',
    'augmented': 'relaxed_augmented_split',
  },
  'pope': {
    'precision': 'pope_precision',
    'recall': 'pope_recall',
    'f1': 'pope_f1_score',
    'yes_ratio': 'pope_yes_ratio',
  },
  'mme': {
    'perception': 'mme_perception_score',
    'cognition': 'mme_cognition_score',
  },
  'seedbench': {
    'image': 'seed_image',
    'video': 'seed_video',
    'all': 'seed_all',
  },
}
HEADLINE = {
  'mme': ('mme_perception_score', 2000),
  'mmbench': ('gpt_eval_score', 100),
  'mmstar': ('average', 1),
  'pope': ('pope_accuracy', 1),
  'seedbench': ('seed_image', 1),
  'mmmu': ('mmmu_acc', 1),
  'chartqa': ('relaxed_overall', 1),
  'docvqa': ('anls', 1),
  'infovqa': ('anls', 1),
}


def rows(name, number):
  """Rows of eval.run.answers: the answer of that number to each question."""
  record = table.BENCHMARKS[name]
  graded = []
  for fields, answers in ORACLE[name]['asked']:
    key, answer = record.key(fields), answers[number]
    graded.append(
      dict(gold=key, answer=answer, score=record.score(answer, key))
    )
  return graded


@pytest.mark.parametrize('name', NAMES)
def test_scores_are_the_harness_s(name):
  """Every pair, the odd ones too."""
  record, wrong, count = table.BENCHMARKS[name], [], 0
  for (fields, answers), want in zip(
    ORACLE[name]['asked'], ORACLE[name]['scores']
  ):
    for answer, score in zip(answers, want, strict=True):
      got, count = record.score(answer, record.key(fields)), count + 1
      if abs(got - score) > 1e-9:
        wrong.append((answer, {k: fields[k] for k in record.gold}, got, score))
  assert not wrong, f'{len(wrong)} of {count} differ, as {wrong[:5]}'
  assert count >= 2000


@pytest.mark.parametrize('name', NAMES)
def test_prompts_are_the_harness_s(name):
  record = table.BENCHMARKS[name]
  for (fields, _), want in zip(ORACLE[name]['asked'], ORACLE[name]['prompts']):
    assert record.ask(fields) == want


@pytest.mark.parametrize('name', NAMES)
def test_totals_are_the_harness_s(name):
  metric, scale = HEADLINE.get(name, ('exact_match', 1))
  for number, want in enumerate(ORACLE[name]['totals']):
    got = table.BENCHMARKS[name].result(rows(name, number))
    if name == 'ocrbench':
      assert got['detail']['points'] == 1000 * want['ocrbench_accuracy']
      continue
    # MMMU's is rounded to five places.
    assert got['accuracy'] * scale == pytest.approx(want[metric], abs=6e-6)
    parts = METRICS.get(name, {})
    if name == 'mmstar':
      parts = {m: m for m in want if m != 'average'}
    for ours, theirs in parts.items():
      assert got['detail'][ours] == pytest.approx(want[theirs], abs=1e-9)


@pytest.mark.parametrize('name', NAMES)
def test_records_hold_what_the_harness_holds(name):
  record, oracle = table.BENCHMARKS[name], ORACLE[name]
  assert record.task == oracle['task']
  # Where it names none, its LLaVA-OneVision takes 1024.
  assert record.max_new_tokens == (oracle['tokens'] or 1024)
  fields, _ = oracle['asked'][0]
  assert set(record.columns) <= set(fields) | {'imageId'}
  assert set(record.gold) <= set(record.columns)


def test_the_oracle_was_asked_these_pairs():
  """A pair that is new must be judged before it counts."""
  assert pairs.MAKE.keys() == ORACLE.keys() == table.BENCHMARKS.keys()
  for name in NAMES:
    assert json.loads(json.dumps(pairs.make(name))) == ORACLE[name]['asked']


def test_the_oracle_tells_right_from_wrong():
  """Neither all right nor all wrong."""
  for name in NAMES:
    mean = sum(map(sum, ORACLE[name]['scores'])) / 2400
    assert 0.15 < mean < 0.85, (name, mean)


def test_results_name_their_rules_and_whether_a_judge_was_asked():
  results = {n: table.BENCHMARKS[n].result(rows(n, 0)) for n in NAMES}
  for row in results.values():
    assert row['scoring'].startswith(scores.RULES)
    assert 0 <= row['accuracy'] <= 1
    json.dumps(row)
  assert [n for n in NAMES if 'judged' in results[n]] == ['mmbench']
  assert results['mmbench']['judged'] is False


def test_an_answer_of_mmmu_without_a_letter_is_drawn_for_its_question():
  """The same in any order and any batch, unlike the harness's."""
  record = table.BENCHMARKS['mmmu']
  fields = dict(
    question_type='multiple-choice', options="['x', 'y', 'z']", answer='B'
  )
  drawn = [
    record.score('?', record.key(fields | dict(id=f'v_Art_{i}')))
    for i in range(60)
  ]
  assert drawn == [
    record.score('?', record.key(fields | dict(id=f'v_Art_{i}')))
    for i in range(60)
  ]
  assert 8 < sum(drawn) < 32


def test_images_of_mme_without_both_questions_are_left_out_and_counted():
  answers = rows('mme', 0)
  paired = table.BENCHMARKS['mme'].result(answers[:100])
  cut = table.BENCHMARKS['mme'].result(answers[:101])
  assert paired['detail'].pop('unpaired') == 0
  assert cut['detail'].pop('unpaired') == 1
  assert paired['detail'] == cut['detail']


@pytest.mark.parametrize(
  'text,count',
  [
    ('all', 15),
    ('hard', 5),
    ('easy', 10),
    ('mme', 1),
    ('mme+hard', 6),
    ('hard+docvqa', 5),
  ],
)
def test_benchmarks_are_named(text, count):
  assert len(table.named(text)) == count


def test_an_unknown_benchmark_is_named():
  with pytest.raises(ValueError, match='"docvq" is none of docvqa.*eval.bench'):
    table.named('hard+docvq')
