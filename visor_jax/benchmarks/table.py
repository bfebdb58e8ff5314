"""The paper's benchmarks: where they lie, how they ask, what is right.

Prompts, most new tokens and scores are those of `scores.RULES`, whose task is
named beside each. Columns are the hub's. Groups are the paper's split by how
data sets react to dropped layers: `fine` (its hard ones) ask to read what is
written in an image, `coarse` (its easy ones) what can be seen at a glance. The
paper names DocVQA, InfoVQA, ChartQA and OCRBench as hard, POPE, ScienceQA, GQA,
RealWorldQA and MME as easy; TextVQA, which reads as those do, and the rest,
which choose among given options, are placed here (`placed`).
"""

import ast
from collections.abc import Callable
import dataclasses
import json
import re
from typing import Any

from visor_jax.benchmarks import choices
from visor_jax.benchmarks import scores
from visor_jax.benchmarks import totals

SHORT = '\nAnswer the question using a single word or phrase.'
LETTER = "\nAnswer with the option's letter from the given choices directly."


def _image(fields):
  return [fields['image']]


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """A benchmark as the hub has it.

  Attributes:
    name: ours; also of its folder.
    group: coarse or fine.
    task: the harness's name for it.
    hub: name of the data set.
    config: folder of its files, where there are several.
    split: how the names of its files begin.
    size: questions.
    columns: that it is read from.
    ask: {column: value} -> the prompt.
    gold: columns that scores need; written to answers and to shards.
    score: (answer, {column: value}) -> 0 to 1.
    total: of totals; [(gold, answer, score)] -> (headline 0 to 1, detail).
    tokens: most new ones.
    pictures: {column: value} -> its images, in order.
    images: columns of images.
    joined: (column, config) where images lie in files of their own, by `id`.
    judged: the harness's own number takes a judge where ours does not.
    placed: who said the group.
  """

  name: str
  group: str
  task: str
  hub: str
  split: str
  size: int
  columns: tuple[str, ...]
  ask: Callable[[dict], str]
  gold: tuple[str, ...]
  score: Callable[[str, dict], float]
  total: Callable[[list], tuple[float, dict]] = totals.mean
  tokens: int = 16
  config: str = ''
  pictures: Callable[[dict], list] = _image
  images: tuple[str, ...] = ('image',)
  joined: tuple[str, str] | None = None
  judged: bool = False
  placed: str = 'paper'

  def key(self, fields: dict[str, Any]) -> str:
    """What is right, as JSON: the `answer` of a turn."""
    return json.dumps({c: fields[c] for c in self.gold}, ensure_ascii=False)

  def rate(self, answer: str, key: str) -> float:
    """How right an answer is, 0 to 1."""
    return self.score(answer, json.loads(key))

  def result(self, rows) -> dict:
    """What a row of results says of answers.

    Args:
      rows: of eval.run.answers.

    Returns:
      accuracy 0 to 1 and detail, of `total`; scoring, the rules; `of`, how many
      questions there are; `judged`, False where the harness's own number takes
      a judge model, which was not asked.
    """
    accuracy, detail = self.total(
      [(json.loads(r['gold']), r['answer'], r['score']) for r in rows]
    )
    out = dict(
      accuracy=accuracy,
      detail=detail,
      of=self.size,
      scoring=f'{scores.RULES}, {self.task}',
    )
    return out | ({'judged': False} if self.judged else {})


# Prompts ---------------------------------------------------------------------


def _short(fields):
  return fields['question'] + SHORT


def _listed(texts):
  return '\n'.join(f'{chr(ord("A") + i)}. {t}' for i, t in enumerate(texts))


def _science(fields):
  context = f'Context: {fields["hint"]}\n' if fields['hint'] else ''
  return f'{context}{fields["question"]}\n{_listed(fields["choices"])}{LETTER}'


def _bare(fields):
  """A question that brings its own last words, without them."""
  return fields['question'].strip().replace(' Please answer yes or no.', '')


def _there(text):
  return text is not None and text == text and text != 'nan'


def _options(fields):
  """Of MMBench, whose table says nan where there is no option."""
  options = ''.join(
    f'{c}. {fields[c]}\n'
    for c in 'ABCDE'
    if fields.get(c) and _there(fields[c])
  )
  hint = f'{fields["hint"]} ' if _there(fields['hint']) else ''
  said = f'{hint}{fields["question"]} There are several options:\n{options}'
  return said.rstrip('\n') + '\n' + LETTER


def _four(fields):
  listed = _listed(fields[f'choice_{c}'] for c in 'abcd')
  return f'{fields["question"]}\n{listed}{LETTER}'


def _chooses(fields):
  return fields['question_type'] == 'multiple-choice'


def _college(fields):
  """MMMU; its places <image 1> stay words, and all images stand in front."""
  if _chooses(fields):
    options = _listed(ast.literal_eval(fields['options']))
    return f'{fields["question"]}\n{options}\n{LETTER}'
  return f'{fields["question"]}\n{SHORT}'


def _college_images(fields):
  said = sorted(set(re.findall(r'<image (\d+)>', _college(fields))))
  return [fields[f'image_{number}'] for number in said]


# Scores ----------------------------------------------------------------------


def _by(rule):
  """A rule that compares with one text."""
  return lambda answer, gold: rule(answer, gold['answer'])


def _anls(answer, gold):
  return scores.anls_of(answer, gold['answers'])


def _vqa(answer, gold):
  return scores.vqa(answer, gold['answers'])


def _ocr(answer, gold):
  texts = gold['answer']
  return scores.contains(
    answer,
    [texts] if isinstance(texts, str) else texts,
    gold['dataset'] == 'HME100k',
  )


def _numbered(rule):
  """A rule that compares with a letter, which is given by its number."""
  return lambda answer, gold: rule(answer, chr(ord('A') + int(gold['answer'])))


def _star(answer, gold):
  return float(choices.letter(answer) == gold['answer'].strip().upper())


def _mmbench(answer, gold):
  # None is no option; the text nan is one, and a banana holds it.
  texts = {c: gold[c] for c in 'ABCD' if gold[c] is not None}
  return float(choices.option(answer.strip(), texts) == gold['answer'])


def _college_answer(answer, gold):
  if not _chooses(gold):
    return choices.open_answer(answer, gold['answer'])
  options = ast.literal_eval(gold['options'])
  return float(choices.lettered(answer, options, gold['id']) == gold['answer'])


_ALL = (
  Benchmark(
    'docvqa',
    'fine',
    'docvqa_val',
    'lmms-lab/DocVQA',
    'validation',
    5349,
    ('question', 'answers'),
    _short,
    ('answers',),
    _anls,
    tokens=32,
    config='DocVQA',
  ),
  Benchmark(
    'infovqa',
    'fine',
    'infovqa_val',
    'lmms-lab/DocVQA',
    'validation',
    2801,
    ('question', 'answers'),
    _short,
    ('answers',),
    _anls,
    tokens=32,
    config='InfographicVQA',
  ),
  Benchmark(
    'chartqa',
    'fine',
    'chartqa',
    'lmms-lab/ChartQA',
    'test',
    2500,
    ('question', 'answer', 'type'),
    lambda f: f'{f["question"]}\nAnswer the question with a single word.',
    ('answer', 'type'),
    _by(scores.relaxed),
    totals.chartqa,
  ),
  Benchmark(
    'textvqa',
    'fine',
    'textvqa_val',
    'lmms-lab/textvqa',
    'validation',
    5000,
    ('question', 'answers'),
    lambda f: f['question'].capitalize() + SHORT,
    ('answers',),
    _vqa,
    tokens=1024,
    placed='here',
  ),
  Benchmark(
    'ocrbench',
    'fine',
    'ocrbench',
    'echo840/OCRBench',
    'test',
    1000,
    ('question', 'answer', 'dataset', 'question_type'),
    lambda f: f['question'].strip(),
    ('answer', 'dataset', 'question_type'),
    _ocr,
    totals.ocrbench,
    tokens=128,
  ),
  Benchmark(
    'ai2d',
    'coarse',
    'ai2d',
    'lmms-lab/ai2d',
    'test',
    3088,
    ('question', 'options', 'answer'),
    lambda f: f'{f["question"]}\n{_listed(f["options"])}{LETTER}',
    ('answer',),
    _numbered(choices.stopped),
    placed='here',
  ),
  Benchmark(
    'gqa',
    'coarse',
    'gqa',
    'lmms-lab/GQA',
    'testdev',
    12578,
    ('question', 'answer', 'imageId'),
    _short,
    ('answer',),
    _by(scores.unpunctuated),
    config='testdev_balanced_instructions',
    images=(),
    joined=('imageId', 'testdev_balanced_images'),
  ),
  Benchmark(
    'pope',
    'coarse',
    'pope',
    'lmms-lab/POPE',
    'test',
    9000,
    ('question', 'answer', 'category'),
    lambda f: f['question'].strip() + SHORT,
    ('answer', 'category'),
    _by(scores.caseless),
    totals.pope,
    tokens=128,
  ),
  Benchmark(
    'scienceqa',
    'coarse',
    'scienceqa_img',
    'lmms-lab/ScienceQA',
    'test',
    2017,
    ('question', 'choices', 'hint', 'answer'),
    _science,
    ('answer',),
    _numbered(choices.opens_with),
    config='ScienceQA-IMG',
  ),
  Benchmark(
    'mme',
    'coarse',
    'mme',
    'lmms-lab/MME',
    'test',
    2374,
    ('question', 'answer', 'category', 'question_id'),
    lambda f: _bare(f) + SHORT,
    ('answer', 'category', 'question_id'),
    _by(scores.yes_no),
    totals.mme,
  ),
  Benchmark(
    'mmbench',
    'coarse',
    'mmbench_en_dev_static',
    'lmms-lab/MMBench',
    'dev',
    4329,
    ('question', 'hint', 'answer', 'index', 'category', 'L2-category', *'ABCD'),
    _options,
    ('answer', 'index', 'category', 'L2-category', *'ABCD'),
    _mmbench,
    totals.mmbench,
    tokens=1024,
    config='en',
    judged=True,
    placed='here',
  ),
  Benchmark(
    'mmstar',
    'coarse',
    'mmstar',
    'Lin-Chen/MMStar',
    'val',
    1500,
    ('question', 'answer', 'category', 'l2_category'),
    lambda f: _bare(f) + LETTER.rstrip('.'),
    ('answer', 'category', 'l2_category'),
    _star,
    totals.mmstar,
    tokens=1024,
    placed='here',
  ),
  Benchmark(
    'realworldqa',
    'coarse',
    'realworldqa',
    'lmms-lab/RealWorldQA',
    'test',
    765,
    ('question', 'answer'),
    lambda f: f['question'].strip(),
    ('answer',),
    _by(choices.letter_or_words),
  ),
  Benchmark(
    'seedbench',
    'coarse',
    'seedbench',
    'lmms-lab/SEED-Bench',
    'test',
    17990,
    ('question', 'answer', 'data_type', *(f'choice_{c}' for c in 'abcd')),
    _four,
    ('answer', 'data_type'),
    _by(choices.opens_with_any),
    totals.seedbench,
    pictures=lambda f: f['image'],
    tokens=1024,
    placed='here',
  ),
  Benchmark(
    'mmmu',
    'coarse',
    'mmmu_val',
    'lmms-lab/MMMU',
    'validation',
    900,
    ('id', 'question', 'options', 'answer', 'question_type'),
    _college,
    ('id', 'options', 'answer', 'question_type'),
    _college_answer,
    totals.mmmu,
    pictures=_college_images,
    images=tuple(f'image_{i}' for i in range(1, 8)),
    tokens=128,
    placed='here',
  ),
)
BENCHMARKS = {b.name: b for b in _ALL}
GROUPS = {'easy': 'coarse', 'hard': 'fine'}  # the paper's words


def named(text: str) -> tuple[Benchmark, ...]:
  """Reads 'hard', 'easy', 'all', or names joined by '+'.

  Raises:
    ValueError: a word that is none of these.
  """
  found = []
  for word in text.split('+'):
    some = [
      b for b in _ALL if word in ('all', b.name) or GROUPS.get(word) == b.group
    ]
    if not some:
      raise ValueError(
        f'benchmark "{word}" is none of {", ".join(BENCHMARKS)}, nor easy, '
        'hard or all; set eval.benchmarks to names joined by +'
      )
    found += some
  return tuple(dict.fromkeys(found))
