"""Questions and answers as odd as benchmarks and models make them.

Standard library alone: the oracle runs where visor_jax is not. Everything is a
function of the benchmark's name.
"""

import random

ODD = (
  '',
  ' ',
  '\n',
  '.',
  ',',
  '?',
  '%',
  '-',
  "'",
  '0',
  '-0',
  '00',
  '1e3',
  '.5',
  '5.',
  '1,000',
  '1,000,000',
  '1.000,5',
  '12,34',
  '5%',
  '5 %',
  '%5',
  '5%%',
  'nan',
  'NaN',
  'inf',
  '-inf',
  'infinity',
  '1_000',
  '١٢',
  '１２',
  '½',
  '$5',
  '5 dollars',
  'None',
  'none',
  'zero',
  'Ten',
  "it's",
  'dont',
  "don't",
  "y'alld've",
  "'ow's'at",
  "'ows'at",
  "somebody'd",
  'Id',
  "let's",
  'a',
  'the',
  'an apple',
  'A',
  'İstanbul',
  'straße',
  'STRASSE',
  'ＡＢＣ　Ｄ',
  'cafe\u0301',
  'café',
  '猫',
  '猫 犬',
  '👩\u200d🚀',
  'x\0',
  '\0',
  'tab\there',
  'two\nlines',
  'a.b.c.',
  '3.14.',
  'U.S.A.',
  'end. Of',
  'x' * 60,
  'n/a',
  'N/A',
  '(a)',
  'a-b',
  'a - b',
  'a / b',
  '[x]',
  '"quoted"',
  "'quoted'",
  'yes',
  'Yes.',
  'no',
  'No, it is',
  'Yes, it is',
  'yesterday',
  'nope',
  'y',
  'N',
  'unknown',
  'maybe yes',
  '. ' * 40 + 'dots',
  'banana',
  'E',
  'F',
  '\u00a0A\u00a0',
)
WORDS = (
  'red blue green cat dog bus two seven 12 1999 3.5 45% $20 Paris London '
  'stop sign left right wooden table none Coca-Cola U.S. 7,200 1,234.5 John '
  "Smith's café Zürich straße İzmir 猫 東京 Ａ１ o'clock dont can't 12:30 "
  'B.C. 5kg 100% one a the an top-left N/A 0 -3 1e5 x=2 '
  'www.example.com @home #1'
).split()
# {c} is a letter, {d} another, {t} and {u} their texts.
CHOOSING = (
  '{c}',
  '{c}',
  '{c}.',
  '({c})',
  '{c})',
  '{c}:',
  '{c},',
  '{c}. {t}',
  '{c}: {t}',
  '({c}) {t}',
  '{t}',
  '{t}.',
  'The answer is {c}.',
  'The answer is {t}.',
  'the correct answer is {c}',
  'Answer: {c}',
  'The best option is {c}. {d} is wrong.',
  'I choose {c}',
  'My answer is {d}',
  'option {c}',
  'Option {c}.',
  '{c} or {d}',
  '{c} {d}',
  'Both {c} and {d}.',
  'Not {d} but {c}',
  '({c}) or ({d})',
  '({d}). No, ({c}).',
  '{c}.{d}.',
  'A {t} can be seen',
  'I see {t} here',
  'There is a thing that is {t} there',
  'It looks to me as if {t} or {u} is right',
  '정답은 {c}',
  '答案是{c}',
  '答えは {c} です',
  '选{c}',
  '"{c}"',
  "'{c}'",
  ' {c} ',
  '\n{c}\n{d}',
  '**{c}**',
  'It is\n{c}',
  '{c}\n\nBecause {d} is not',
  'The choice is {d}; I pick {c}',
  'A man. B is there',
  'CABD',
  'Because {t}',
  '{c}?',
  '{c}!',
  '{d}{c}',
  'USA {c}',
  '(:{c}).',
  ':{c}',
  'choice {c}) {t}',
  'I select {t}: {c}.',
  'The answer is\n{c}',
  'the answer is {d}... the answer is {c}',
  '{c}/{d}',
)
SENTENCES = (
  'The answer is {}',
  'It is {}.',
  'so {}',
  'x = {}',
  'The result is = {}',
  'Therefore the final answer is {}.\nThus {}',
  '{}.',
  '{},',
  '"{}"',
  ' {}  ',
  '{} and more',
  'about {}',
  'It could be {}',
  '{}\n',
  '({})',
  'a {}',
  'the {}',
  '{}!',
  '{}?',
  '{}%',
  '${}',
  '-{}',
  '{} %',
  '{}.0',
  'is :',
  '{};',
)


def phrase(rng, longest=4):
  return ' '.join(rng.choice(WORDS) for _ in range(rng.randint(1, longest)))


def near(rng, text):
  """A number that is about as large."""
  for word in text.split():
    bare = word.strip('$%,.').replace(',', '')
    try:
      value = float(bare)
    except ValueError:
      continue
    factor = rng.choice(
      (1, 0.95, 0.951, 0.949, 1.05, 1.0499, 1.0501, 0.5, 1.01)
    )
    out = rng.choice(
      (
        f'{value * factor:g}',
        f'{value * factor:,.2f}',
        f'{value * factor / 100}',
        f'{value * factor:.1f}%',
      )
    )
    return out + '%' * ('%' in word and rng.random() < 0.5)
  return text[::-1]


def typo(rng, text):
  """Some letters are others."""
  out = list(text)
  for _ in range(rng.randint(1, 3)):
    at = rng.randint(0, len(out))
    what = rng.choice('add drop change swap'.split())
    if what == 'add':
      out.insert(at, rng.choice('aeSs. ,-ß'))
    elif at < len(out):
      if what == 'drop':
        del out[at]
      elif what == 'change':
        out[at] = rng.choice('xyzÄ1')
      else:
        out[at : at + 2] = out[at : at + 2][::-1]
  return ''.join(out)


def said(rng, golds):
  """What a model may say where these are right."""
  gold = rng.choice(golds)
  return rng.choice(
    (
      lambda: gold,
      lambda: gold.upper(),
      lambda: gold.lower(),
      lambda: gold.title(),
      lambda: f'  {gold} ',
      lambda: gold.strip('.,%$'),
      lambda: rng.choice(SENTENCES).replace('{}', gold),
      lambda: rng.choice(SENTENCES).replace('{}', gold),
      lambda: typo(rng, gold),
      lambda: typo(rng, gold),
      lambda: near(rng, gold),
      lambda: near(rng, gold),
      lambda: gold.replace(' ', ''),
      lambda: gold.replace(' ', '  '),
      lambda: gold.replace(',', ''),
      lambda: gold[: len(gold) // 2],
      lambda: gold + ' ' + phrase(rng, 2),
      lambda: phrase(rng),
      lambda: rng.choice(ODD),
      lambda: rng.choice(ODD),
    )
  )()


def chosen(rng, letters, texts, right):
  """What a model may say where it is to name a letter."""
  if rng.random() < 0.12:
    return rng.choice(ODD)
  at = {c: i for i, c in enumerate(letters)}
  first = right if rng.random() < 0.6 else rng.choice(letters)
  second = rng.choice(letters)
  forms = rng.choice((CHOOSING, CHOOSING, ('{c}', '{c}.', '{c}. {t}', '{c} ')))
  text = rng.choice(forms).format(
    c=first, d=second, t=texts[at[first]], u=texts[at[second]]
  )
  return rng.choice(
    (text, text, text, text.lower(), text.upper(), typo(rng, text))
  )


def binary(rng, gold):
  return rng.choice(
    (
      gold,
      gold.lower(),
      gold.upper(),
      f'{gold}.',
      f' {gold}',
      f'{gold}, it is',
      'Yes',
      'no',
      rng.choice(ODD),
      f'The answer is {gold}',
      'not at all',
      'Ye',
      'know',
      'I say yes',
      'No.',
      'yes\n',
      gold[:1],
      gold + '!',
      'YES.',
      'n.o',
    )
  )


def _golds(rng, count, golds=None):
  golds = golds or [phrase(rng) for _ in range(rng.randint(1, count))]
  if rng.random() < 0.15:
    golds[0] = rng.choice(ODD)
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
  texts = rng.sample(WORDS, count)
  return [t if rng.random() < 0.7 else phrase(rng) for t in texts]


def _anls(rng, number):
  golds = _golds(rng, 4)
  return dict(question=_question(rng), answers=golds), lambda: said(rng, golds)


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
  return dict(
    question=_question(rng),
    answer=gold,
    type=rng.choice(('human_test', 'augmented_test')),
  ), lambda: said(rng, [gold])


def _textvqa(rng, number):
  some = _golds(rng, 4)
  golds = [rng.choice(some + [some[0]] * 3) for _ in range(10)]
  golds = [
    g if rng.random() < 0.8 else rng.choice((g.upper(), f'{g}.', f'the {g}'))
    for g in golds
  ]
  return dict(
    question=_question(rng), answers=golds, question_id=number
  ), lambda: said(rng, golds)


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
    golds = [r'\frac { a } { B } + x ^ 2', phrase(rng)][: rng.randint(1, 2)]
  answer = golds if rng.random() < 0.8 else golds[0]
  return dict(
    question=_question(rng),
    answer=answer,
    question_type=kind,
    dataset='HME100k' if formula else 'IIIT5K',
  ), lambda: said(rng, golds)


def _gqa(rng, number):
  gold = _golds(rng, 1)[0]
  return dict(question=_question(rng), answer=gold, imageId='1'), lambda: said(
    rng, [gold]
  )


def _lettered(rng, count):
  texts = _texts(rng, count)
  letters = 'ABCDE'[:count]
  right = rng.choice(letters)
  return texts, right, lambda: chosen(rng, letters, texts, right)


def _ai2d(rng, number):
  texts, right, say = _lettered(rng, rng.randint(2, 5))
  return dict(
    question=_question(rng), options=texts, answer=str('ABCDE'.index(right))
  ), say


def _scienceqa(rng, number):
  texts, right, say = _lettered(rng, rng.randint(2, 5))
  return dict(
    question=_question(rng),
    choices=texts,
    hint=rng.choice(('', 'Look closely.')),
    answer='ABCDE'.index(right),
  ), say


def _pope(rng, number):
  gold = rng.choice(('yes', 'no'))
  return dict(
    question=_question(rng),
    answer=gold,
    question_id=str(number),
    category=rng.choice(('random', 'popular', 'adversarial')),
  ), lambda: binary(rng, gold)


def _mme(rng, number):
  category = (
    'existence',
    'OCR',
    'scene',
    'code_reasoning',
    'text_translation',
  )[number // 2 % 5]
  gold = ('Yes', 'No')[number % 2]
  return dict(
    question=_question(rng) + ' Please answer yes or no.',
    answer=gold,
    category=category,
    question_id=f'{category}/{number // 2}.png',
  ), lambda: binary(rng, gold)


def _mmbench(rng, number):
  """Four rounds of a question stand together."""
  count = rng.choice((2, 3, 4, 4, 4))
  texts, right, say = _lettered(rng, count)
  missing = rng.choice((None, 'nan'))
  fields = dict(zip('ABCD', texts + [missing] * 4))
  return dict(
    fields,
    question=_question(rng),
    hint=rng.choice(('nan', 'Look.')),
    answer=right,
    index=number // 4 + 1_000_000 * (number % 4),
    category=f'kind {number // 4 % 3}',
    source='x',
    split='dev',
    **{'L2-category': f'class {number // 4 % 2}'},
  ), say


CATEGORIES = (
  'coarse perception',
  'fine-grained perception',
  'instance reasoning',
  'logical reasoning',
  'science & technology',
  'math',
)


def _mmstar(rng, number):
  _, right, say = _lettered(rng, 4)
  return dict(
    question=_question(rng),
    answer=right,
    index=number,
    category=CATEGORIES[number % 6],
    l2_category=f'{CATEGORIES[number % 6]} {number % 18}',
  ), say


def _realworldqa(rng, number):
  texts, right, say = _lettered(rng, 4)
  if rng.random() < 0.5:
    gold = _golds(rng, 1)[0]
    return dict(question=_question(rng), answer=gold), lambda: said(rng, [gold])
  return dict(
    question='Which?\n' + '\n'.join(f'{c}. {t}' for c, t in zip('ABCD', texts)),
    answer=right,
  ), say


def _seedbench(rng, number):
  texts, right, say = _lettered(rng, 4)
  return dict(
    question=_question(rng),
    answer=right,
    question_id=str(number),
    data_type=rng.choice(('image', 'image', 'video')),
    **dict(zip(('choice_a', 'choice_b', 'choice_c', 'choice_d'), texts)),
  ), say


def _mmmu(rng, number):
  texts, right, say = _lettered(rng, rng.randint(2, 5))
  choose = rng.random() < 0.6
  gold = right if choose else _golds(rng, 1)[0]
  return dict(
    id=f'validation_{("Art", "Art_Theory", "Math")[number % 3]}_{number}',
    question='<image 1> What of <image 2>?'
    if number % 4 == 0
    else 'What of <image 1>?',
    options=repr(texts if choose else []),
    answer=gold,
    question_type='multiple-choice' if choose else 'open',
  ), say if choose else lambda: said(rng, [gold])


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
  """[(fields of a question without its images, [answers])]; oddities once."""
  rng, out = random.Random(f'visor_jax/{name}'), []
  for number in range(questions):
    fields, say = MAKE[name](rng, number)
    out.append((fields, [say() for _ in range(answers)]))
  for i, odd in enumerate(ODD):  # each is said at least once
    out[i % questions][1][i // questions] = odd
  return out
