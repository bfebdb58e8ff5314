"""What a job reads of those before it: what is torn or cannot be is refused.

Each error names the file, and the line of a row.
"""

import json
import math

import pytest

from visor_jax.runtime import checksums
from visor_jax.runtime import errors
from visor_jax.runtime import outcomes
from visor_jax.spec import budget
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib

LAYOUT = plans.visor(9)
VIABLE = [[0, 0, 0], [0, 1, 0], [1, 1, 1]]
PLANS = tuple(tuple(map(bool, plan)) for plan in VIABLE)
OTHERS = (LAYOUT.min, (True, False, True), LAYOUT.max)
POINTS = (
  (0, 0.3, 0.5, 0.6, 0.4),
  (0.5, 0.6, 0.7, 0.8, None),  # as of older calibrations
  (1, 1.02, 0.8, 1, 1.01),
)
CURVE = [dict(zip(budget.Point._fields, point)) for point in POINTS]
LABELS = [
  dict(
    index=i,
    id=f'r{i}',
    family='f',
    plans=['min', '1', 'max'],
    scores=[0.0, 1, 1],
    flops=[1, 2, 3],
    total_flops=[2, 3, 4],
    label=1,
  )
  for i in (0, 1, 2, 4, 5)  # question 3 does not fit
]
QUESTIONS = [row['index'] for row in LABELS]


@pytest.fixture
def workdir(tmp_path):
  """What search, label and policy have left."""
  workdir = workdir_lib.Workdir(tmp_path)
  write(workdir.plans, json.dumps(dict(viable=VIABLE), indent=1))
  write(workdir.labels, lines(LABELS))
  values = dict(confidence=0.5, curve=CURVE)
  write(workdir.calibration, json.dumps(values, indent=1))
  return workdir


def write(path, text):
  """Where nothing of it was torn."""
  checksums.write(path, text)


def lines(rows):
  return ''.join(json.dumps(row) + '\n' for row in rows)


READERS = {
  'plans': lambda workdir: outcomes.viable_plans(workdir, LAYOUT),
  'labels': lambda workdir: outcomes.labels(workdir, PLANS, QUESTIONS),
  'calibration': lambda workdir: outcomes.calibration(workdir, PLANS),
}


def test_what_was_left_is_read(workdir):
  assert outcomes.viable_plans(workdir, LAYOUT)[1] == (False, True, False)
  assert outcomes.labels(workdir, PLANS, QUESTIONS) == LABELS
  calibration = outcomes.calibration(workdir, PLANS)
  assert calibration.confidence == 0.5
  assert calibration.curve == POINTS


@pytest.mark.parametrize('name', READERS)
def test_a_file_that_lost_any_of_its_lines_is_refused(name, workdir):
  """Also where what is left is well-formed."""
  path = getattr(workdir, name)
  every = path.read_text().splitlines(True)
  for line in range(len(every)):
    path.write_text(''.join(every[:line] + every[line + 1 :]))
    with pytest.raises(errors.Refusal, match=f'{path} is not what was written'):
      READERS[name](workdir)


@pytest.mark.parametrize('name', READERS)
def test_a_file_that_is_not_there_names_the_job(name, workdir):
  checksums.remove(getattr(workdir, name))
  with pytest.raises(errors.Refusal, match='run the (search|label|policy) '):
    READERS[name](workdir)


@pytest.mark.parametrize(
  'rows,why',
  [
    (LABELS[:4], 'jsonl ends before question 5'),
    (LABELS[1:], 'line 1: "index" is 1; expected question 0'),
    (LABELS[:1] + LABELS[2:], 'line 2: "index" is 2; expected question 1'),
    (LABELS[::-1], 'line 1: "index" is 5'),
    (LABELS + LABELS[:1], 'line 6: "index" is 0; expected no more'),
    ([], 'jsonl ends before question 0'),
  ],
)
def test_a_question_without_its_label_is_named(rows, why, workdir):
  write(workdir.labels, lines(rows))
  with pytest.raises(errors.Refusal, match=why):
    outcomes.labels(workdir, PLANS, QUESTIONS)


@pytest.mark.parametrize(
  'key,value',
  [
    ('label', 99),
    ('label', 3),
    ('label', -1),
    ('label', '1'),
    ('label', 0.5),
    ('scores', [0, 1]),
    ('scores', [0, 1, math.nan]),
    ('scores', [0, 1, 5]),
    ('scores', [0, 1, None]),
    ('scores', None),
    ('flops', [1, 2, -3]),
    ('flops', [1, 2]),
    ('flops', ['1', '2', '3']),
    ('flops', [0, 0, 0]),
    ('flops', [1, 2, math.inf]),
    ('flops', [1, 2, math.nan]),
    ('flops', [True, 2, 3]),
    ('scores', ['0', '1', '1']),
    ('total_flops', [0, 0, 0]),
    ('total_flops', [1, 2, None]),
    ('family', None),
  ],
)
def test_a_label_that_cannot_be_is_named(key, value, workdir):
  write(workdir.labels, lines([*LABELS[:2], LABELS[2] | {key: value}]))
  why = rf'labels\.jsonl, line 3: .*"{key}" is .*; expected .*label job again'
  with pytest.raises(errors.Refusal, match=why):
    outcomes.labels(workdir, PLANS, QUESTIONS)


@pytest.mark.parametrize(
  'values',
  [
    dict(confidence=5, curve=CURVE),
    dict(confidence=math.nan, curve=CURVE),
    dict(curve=CURVE),
    dict(confidence=0.5, curve=CURVE[1:]),
    dict(confidence=0.5, curve=[CURVE[0], {}, CURVE[2]]),
    dict(confidence=0.5, curve=[CURVE[0], 3, CURVE[2]]),
    dict(confidence=0.5, curve=None),
  ],
)
def test_a_calibration_that_cannot_be_is_refused(values, workdir):
  write(workdir.calibration, json.dumps(values))
  with pytest.raises(errors.Refusal, match=f'{workdir.calibration}'):
    outcomes.calibration(workdir, PLANS)


@pytest.mark.parametrize(
  'said,why',
  [
    ({}, 'does not say which plans .* run the label job again'),
    (dict(plans=3), 'labels are of plans 3; viable are min, 1, max; '),
    (
      dict(plans=['min', '0,2', 'max']),
      'labels are of plans min, 0,2, max; viable are min, 1, max; run the ',
    ),
  ],
)
def test_labels_of_other_plans_are_refused(said, why, workdir):
  """Though they are as many."""
  row = {key: LABELS[0][key] for key in LABELS[0] if key != 'plans'} | said
  write(workdir.labels, lines([row, *LABELS[1:]]))
  with pytest.raises(errors.Refusal, match=f'line 1: .*{why}'):
    outcomes.labels(workdir, PLANS, QUESTIONS)


def test_a_router_of_other_plans_is_refused(workdir):
  """Neither asked nor trained on; an older one does not say."""
  outcomes.check_router(workdir, OTHERS)
  outcomes.calibration(workdir, OTHERS)
  values = dict(confidence=0.5, curve=CURVE, plans=['min', '1', 'max'])
  write(workdir.calibration, json.dumps(values))
  for read in outcomes.check_router, outcomes.calibration:
    read(workdir, PLANS)
    with pytest.raises(
      errors.Refusal, match=r'min, 0,2, max; remove .* policy'
    ):
      read(workdir, OTHERS)
  workdir.calibration.write_text('{')  # torn, it is made again
  outcomes.check_router(workdir, OTHERS)
  checksums.remove(workdir.calibration)
  outcomes.check_router(workdir, OTHERS)


@pytest.mark.parametrize('viable', [VIABLE[:2], VIABLE[1:], [[0], [1]], 3])
def test_plans_that_cannot_be_are_refused(viable, workdir):
  write(workdir.plans, json.dumps(dict(viable=viable)))
  with pytest.raises(errors.Refusal, match=f'{workdir.plans}: viable plan'):
    outcomes.viable_plans(workdir, LAYOUT)
