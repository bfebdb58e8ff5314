"""Texts as odd as benchmarks and models make them, for `pairs`."""

# fmt: off
# Each is an answer, and may be what is right.
ODD = (
  '', ' ', '\n', '.', ',', '?', '%', '-', "'", '0', '-0', '00', '1e3', '.5',
  '5.', '1,000', '1,000,000', '1.000,5', '12,34', '5%', '5 %', '%5', '5%%',
  'nan', 'NaN', 'inf', '-inf', 'infinity', '1_000', '١٢', '１２', '½', '$5',
  '5 dollars', 'None', 'none', 'zero', 'Ten', "it's", 'dont', "don't",
  "y'alld've", "'ow's'at", "'ows'at", "somebody'd", 'Id', "let's", 'a', 'the',
  'an apple', 'A', 'İstanbul', 'straße', 'STRASSE', 'ＡＢＣ　Ｄ', 'cafe\u0301',
  'café', '猫', '猫 犬', '👩\u200d🚀', 'x\0', '\0', 'tab\there', 'two\nlines',
  'a.b.c.', '3.14.', 'U.S.A.', 'end. Of', 'x' * 60, 'n/a', 'N/A', '(a)', 'a-b',
  'a - b', 'a / b', '[x]', '"quoted"', "'quoted'", 'yes', 'Yes.', 'no',
  'No, it is', 'Yes, it is', 'yesterday', 'nope', 'y', 'N', 'unknown',
  'maybe yes', '. ' * 40 + 'dots', 'banana', 'E', 'F', '\u00a0A\u00a0',
)
# fmt: on

# Phrases are drawn from these.
WORDS = (
  'red blue green cat dog bus two seven 12 1999 3.5 45% $20 Paris London '
  'stop sign left right wooden table none Coca-Cola U.S. 7,200 1,234.5 John '
  "Smith's café Zürich straße İzmir 猫 東京 Ａ１ o'clock dont can't 12:30 "
  'B.C. 5kg 100% one a the an top-left N/A 0 -3 1e5 x=2 '
  'www.example.com @home #1'
).split()

# fmt: off
# How models name a choice: {c} is a letter, {d} another, {t} and {u} their
# texts.
CHOOSING = (
  '{c}', '{c}', '{c}.', '({c})', '{c})', '{c}:', '{c},', '{c}. {t}',
  '{c}: {t}', '({c}) {t}', '{t}', '{t}.', 'The answer is {c}.',
  'The answer is {t}.', 'the correct answer is {c}', 'Answer: {c}',
  'The best option is {c}. {d} is wrong.', 'I choose {c}', 'My answer is {d}',
  'option {c}', 'Option {c}.', '{c} or {d}', '{c} {d}', 'Both {c} and {d}.',
  'Not {d} but {c}', '({c}) or ({d})', '({d}). No, ({c}).', '{c}.{d}.',
  'A {t} can be seen', 'I see {t} here', 'There is a thing that is {t} there',
  'It looks to me as if {t} or {u} is right', '정답은 {c}', '答案是{c}',
  '答えは {c} です', '选{c}', '"{c}"', "'{c}'", ' {c} ', '\n{c}\n{d}',
  '**{c}**', 'It is\n{c}', '{c}\n\nBecause {d} is not',
  'The choice is {d}; I pick {c}',
  'A man. B is there', 'CABD', 'Because {t}', '{c}?', '{c}!', '{d}{c}',
  'USA {c}', '(:{c}).', ':{c}', 'choice {c}) {t}', 'I select {t}: {c}.',
  'The answer is\n{c}', 'the answer is {d}... the answer is {c}', '{c}/{d}',
)

# How models wrap a text.
SENTENCES = (
  'The answer is {}', 'It is {}.', 'so {}', 'x = {}', 'The result is = {}',
  'Therefore the final answer is {}.\nThus {}', '{}.', '{},', '"{}"', ' {}  ',
  '{} and more', 'about {}', 'It could be {}', '{}\n', '({})', 'a {}',
  'the {}', '{}!', '{}?', '{}%', '${}', '-{}', '{} %', '{}.0', 'is :', '{};',
)
# fmt: on
