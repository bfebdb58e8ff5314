"""Questions and answers as odd as benchmarks and models make them.

Standard library alone: the oracle runs where visor_jax is not. Everything is a
function of the benchmark's name.
"""

import random

from tests.benchmarks import model_answers
from tests.benchmarks import wording


def _golds(rng, count):
  golds = [model_answers.phrase(rng) for _ in range(rng.randint(1, count))]
  if rng.random() < 0.15:
    golds[0] = rng.choice(wording.ODD)
  return golds


def _question(rng):
  return rng.choice(
    (
      'What is it?',
      'how MANY dogs are there ?  ',
      'Is İt a straße?',
      'Please answer yes or no.',
      'What is written in the image?\n',
    )
  )


def _texts(rng, count):
  texts = rng.sample(wording.WORDS, count)
  return [t if rng.random() < 0.7 else model_answers.phrase(rng) for t in texts]


def _anls(rng, number):
  golds = _golds(rng, 4)
  fields = dict(question=_question(rng), answers=golds)
  return fields, lambda: model_answers.free_text(rng, golds)


def _chartqa(rng, number):
  gold = _golds(rng, 1)[0]
  if rng.random() < 0.6:
    gold = rng.choice(
      (
        f'{rng.uniform(-5, 900):.2f}',
        f'{rng.randint(0, 99)}%',
        f'{rng.randint(1000, 99999):,}',
        str(rng.randint(0, 9)),
      )
    )
  fields = dict(
    question=_question(rng),
    answer=gold,
    type=rng.choice(('human_test', 'augmented_test')),
  )
  return fields, lambda: model_answers.free_text(rng, [gold])


def _textvqa(rng, number):
  answers = _golds(rng, 4)
  golds = [rng.choice(answers + [answers[0]] * 3) for _ in range(10)]
  golds = [
    g if rng.random() < 0.8 else rng.choice((g.upper(), f'{g}.', f'the {g}'))
    for g in golds
  ]
  fields = dict(question=_question(rng), answers=golds, question_id=number)
  return fields, lambda: model_answers.free_text(rng, golds)


KINDS = (
  'Regular Text Recognition',
  'Irregular Text Recognition',
  'Artistic Text Recognition',
  'Handwriting Recognition',
  'Digit String Recognition',
  'Non-Semantic Text Recognition',
  'Scene Text-centric VQA',
  'Doc-oriented VQA',
  'Key Information Extraction',
  'Handwritten Mathematical Expression Recognition',
)


def _ocrbench(rng, number):
  golds = _golds(rng, 3)
  kind = KINDS[number % len(KINDS)]
  formula = kind == KINDS[-1]
  if formula:
    golds = [r'\frac { a } { B } + x ^ 2', model_answers.phrase(rng)]
    golds = golds[: rng.randint(1, 2)]
  answer = golds if rng.random() < 0.8 else golds[0]
  fields = dict(
    question=_question(rng),
    answer=answer,
    question_type=kind,
    dataset='HME100k' if formula else 'IIIT5K',
  )
  return fields, lambda: model_answers.free_text(rng, golds)


def _gqa(rng, number):
  gold = _golds(rng, 1)[0]
  fields = dict(question=_question(rng), answer=gold, imageId='1')
  return fields, lambda: model_answers.free_text(rng, [gold])


def _lettered(rng, count):
  texts = _texts(rng, count)
  letters = 'ABCDE'[:count]
  right = rng.choice(letters)
  return texts, right, lambda: model_answers.choice(rng, letters, texts, right)


def _ai2d(rng, number):
  texts, right, draw = _lettered(rng, rng.randint(2, 5))
  fields = dict(
    question=_question(rng), options=texts, answer=str('ABCDE'.index(right))
  )
  return fields, draw


def _scienceqa(rng, number):
  texts, right, draw = _lettered(rng, rng.randint(2, 5))
  fields = dict(
    question=_question(rng),
    choices=texts,
    hint=rng.choice(('', 'Look closely.')),
    answer='ABCDE'.index(right),
  )
  return fields, draw


def _pope(rng, number):
  gold = rng.choice(('yes', 'no'))
  fields = dict(
    question=_question(rng),
    answer=gold,
    question_id=str(number),
    category=rng.choice(('random', 'popular', 'adversarial')),
  )
  return fields, lambda: model_answers.yes_or_no(rng, gold)


def _mme(rng, number):
  category = (
    'existence',
    'OCR',
    'scene',
    'code_reasoning',
    'text_translation',
  )[number // 2 % 5]
  gold = ('Yes', 'No')[number % 2]
  fields = dict(
    question=_question(rng) + ' Please answer yes or no.',
    answer=gold,
    category=category,
    question_id=f'{category}/{number // 2}.png',
  )
  return fields, lambda: model_answers.yes_or_no(rng, gold)


def _mmbench(rng, number):
  """Four rounds of a question stand together."""
  count = rng.choice((2, 3, 4, 4, 4))
  texts, right, draw = _lettered(rng, count)
  missing = rng.choice((None, 'nan'))
  fields = dict(
    zip('ABCD', texts + [missing] * 4),
    question=_question(rng),
    hint=rng.choice(('nan', 'Look.')),
    answer=right,
    index=number // 4 + 1_000_000 * (number % 4),
    category=f'kind {number // 4 % 3}',
    source='x',
    split='dev',
    **{'L2-category': f'class {number // 4 % 2}'},
  )
  return fields, draw


CATEGORIES = (
  'coarse perception',
  'fine-grained perception',
  'instance reasoning',
  'logical reasoning',
  'science & technology',
  'math',
)


def _mmstar(rng, number):
  _, right, draw = _lettered(rng, 4)
  fields = dict(
    question=_question(rng),
    answer=right,
    index=number,
    category=CATEGORIES[number % 6],
    l2_category=f'{CATEGORIES[number % 6]} {number % 18}',
  )
  return fields, draw


def _realworldqa(rng, number):
  texts, right, draw = _lettered(rng, 4)
  if rng.random() < 0.5:
    gold = _golds(rng, 1)[0]
    fields = dict(question=_question(rng), answer=gold)
    return fields, lambda: model_answers.free_text(rng, [gold])
  listed = '\n'.join(f'{c}. {t}' for c, t in zip('ABCD', texts))
  return dict(question=f'Which?\n{listed}', answer=right), draw


def _seedbench(rng, number):
  texts, right, draw = _lettered(rng, 4)
  fields = dict(
    question=_question(rng),
    answer=right,
    question_id=str(number),
    data_type=rng.choice(('image', 'image', 'video')),
    **dict(zip(('choice_a', 'choice_b', 'choice_c', 'choice_d'), texts)),
  )
  return fields, draw


def _mmmu(rng, number):
  texts, right, draw = _lettered(rng, rng.randint(2, 5))
  choose = rng.random() < 0.6
  gold = right if choose else _golds(rng, 1)[0]
  fields = dict(
    id=f'validation_{("Art", "Art_Theory", "Math")[number % 3]}_{number}',
    question='<image 1> What of <image 2>?'
    if number % 4 == 0
    else 'What of <image 1>?',
    options=repr(texts if choose else []),
    answer=gold,
    question_type='multiple-choice' if choose else 'open',
  )
  return fields, draw if choose else lambda: model_answers.free_text(
    rng, [gold]
  )


MAKE = dict(
  docvqa=_anls,
  infovqa=_anls,
  chartqa=_chartqa,
  textvqa=_textvqa,
  ocrbench=_ocrbench,
  ai2d=_ai2d,
  gqa=_gqa,
  pope=_pope,
  scienceqa=_scienceqa,
  mme=_mme,
  mmbench=_mmbench,
  mmstar=_mmstar,
  realworldqa=_realworldqa,
  seedbench=_seedbench,
  mmmu=_mmmu,
)


def make(name, questions=300, answers=8):
  """[(fields of a question without its images, [answers])] of a benchmark."""
  rng, asked = random.Random(f'visor_jax/{name}'), []
  for number in range(questions):
    fields, draw = MAKE[name](rng, number)
    asked.append((fields, [draw() for _ in range(answers)]))
  for i, odd in enumerate(wording.ODD):  # each is given at least once
    _, given = asked[i % questions]
    given[i // questions] = odd
  return asked
