"""How right an answer is: numbers from 0 to 1.

`SCORES` are for labels and for one's own data. The rules below them, and those
in `choices`, are those by which benchmarks are published: what `RULES` names
does with an answer, oddities included, each named where it is.
tests/benchmarks/oracle.py asks the harness itself; tests hold these rules to
its answers.
"""

from collections.abc import Callable
from collections.abc import Sequence
import re
import statistics
import string

RULES = 'lmms-eval 0.7.3'

# (answer, the right one) -> 0 to 1.
Score = Callable[[str, str], float]


def exact(answer: str, gold: str) -> float:
  """1 for the same words."""
  return float(answer.split() == gold.split())


def token(answer: str, gold: str) -> float:
  """Share of positions, of the longer text, that hold the same word."""
  a, b = answer.split(), gold.split()
  if not a and not b:
    return 1.0
  return sum(x == y for x, y in zip(a, b)) / max(len(a), len(b))


def anls(answer: str, gold: str) -> float:
  """Average normalised Levenshtein similarity, 0 below one half (DocVQA).

  Distances are of normal texts, lengths of texts as they were written, in
  capitals.
  """
  a, b = (' '.join(text.lower().split()) for text in (answer, gold))
  longest = max(len(answer.upper()), len(gold.upper()))
  if not longest:
    return 1.0
  similarity = 1 - _levenshtein(a, b) / longest
  return similarity if similarity >= 0.5 else 0.0


def _levenshtein(a: str, b: str) -> int:
  """Edits from `a` to `b`, row by row of the usual table."""
  row = list(range(len(b) + 1))
  for i, x in enumerate(a, start=1):
    diagonal, row[0] = row[0], i
    for j, y in enumerate(b, start=1):
      cheapest = min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
      diagonal, row[j] = row[j], cheapest
  return row[-1]


def relaxed(answer: str, gold: str) -> float:
  """1 for a number within 5 % of the right one, or the same text (ChartQA).

  A percent sign divides by 100; a thousands separator is no number; nothing is
  near 0.
  """
  answer = answer.strip()
  value, target = _number(answer), _number(gold)
  if value is None or not target:
    return float(answer.lower() == gold.lower())
  return float(abs(value - target) / abs(target) <= 0.05)


def _number(text: str) -> float | None:
  try:
    if text.endswith('%'):
      return float(text.rstrip('%')) / 100
    return float(text)
  except ValueError:
    return None


SCORES: dict[str, Score] = {
  'exact': exact,
  'anls': anls,
  'relaxed': relaxed,
  'token': token,
}


def named(name: str) -> Score:
  """The score of that name.

  Raises:
    ValueError: there is none; lists those there are.
  """
  if name not in SCORES:
    raise ValueError(
      f'score "{name}" is none of {", ".join(SCORES)}; set label.score or '
      'eval.score to one of them'
    )
  return SCORES[name]


# Words and numbers -----------------------------------------------------------


def anls_of_any(answer: str, golds: Sequence[str]) -> float:
  """`anls` to the most similar of several right answers."""
  return max(anls(answer.strip(), gold) for gold in golds)


def vqa(answer: str, golds: Sequence[str]) -> float:
  """Agreement with people: 1 if three of the others answered so (TextVQA)."""
  answer = _vqa_normal(answer.strip())
  golds = [_vqa_normal(gold) for gold in golds]
  agreeing = golds.count(answer)
  return float(
    statistics.mean(
      min(1, (agreeing - (gold == answer)) / 3)  # the others: without this one
      for gold in golds
    )
  )


_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_STOP = re.compile(r'\.(?!\d)')
_NUMERALS = 'zero one two three four five six seven eight nine ten'.split()
_DIGITS = {'none': '0'} | {word: str(i) for i, word in enumerate(_NUMERALS)}
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't
hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've
it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've
somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
weren't what'll what're what's what've when's where'd where's where've who'd
who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()
# A word that lacks one of its apostrophes gets it back; "somebody'd" loses its.
_CONTRACTIONS = {"somebody'd": 'somebodyd'} | {
  word[:i] + word[i + 1 :]: word
  for word in _CONTRACTED
  for i, character in enumerate(word)
  if character == "'"
}
_ARTICLES = ('a', 'an', 'the')


def _vqa_normal(text: str) -> str:
  """What the VQA challenge's server makes of an answer."""
  text = text.lower().replace(',', '').replace('?', '').replace("'s", " 's")
  text = text.strip().replace('\n', ' ').replace('\t', ' ').strip()
  unmarked = text
  for mark in _MARKS:
    beside_space = f'{mark} ' in text or f' {mark}' in text
    unmarked = unmarked.replace(mark, '' if beside_space else ' ')
  # A flag given as a count: 32 stops go at most.
  unmarked = _STOP.sub('', unmarked, 32)
  words = [_DIGITS.get(word, word) for word in unmarked.lower().split()]
  return ' '.join(
    _CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES
  )


def contains(answer: str, golds: Sequence[str], formula: bool = False) -> float:
  """1 if one of the right answers stands somewhere in it (OCRBench).

  Args:
    answer: the model's words.
    golds: right answers.
    formula: whether they are formulas: spaces are ignored, case is not.
  """
  normal = _formula_normal if formula else _text_normal
  text = normal(answer.strip())
  return float(any(normal(gold) in text for gold in golds))


def _formula_normal(text: str) -> str:
  return text.strip().replace('\n', ' ').replace(' ', '')


def _text_normal(text: str) -> str:
  return text.translate(_NARROW).lower().strip().replace('\n', ' ')


# Full-width characters to ASCII.
_NARROW: dict[int, str | int] = {0x3000: ' '}
_NARROW |= {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


def unpunctuated(answer: str, gold: str) -> float:
  """1 for the same but for case and ASCII punctuation (GQA).

  The harness compares arrays of numpy, in which a letter whose small form is
  longer pushes out the text's end, and zeros at the end are not there.
  """
  return float(_array_normal(answer.strip()) == _array_normal(gold))


def _array_normal(text: str) -> str:
  width = len(text)
  cut = text.rstrip('\0').lower()[:width].rstrip('\0')
  return cut.translate(_UNPUNCTUATED).rstrip('\0')


_UNPUNCTUATED = str.maketrans('', '', string.punctuation)


# Yes or no -------------------------------------------------------------------


def caseless(answer: str, gold: str) -> float:
  """1 for the same but for case and space around it (POPE)."""
  return float(answer.lower().strip() == gold.lower().strip())


def yes_no(answer: str, gold: str) -> float:
  """1 if its first four letters hold the right one of yes and no (MME)."""
  answer = answer.lower().strip().replace('.', '')
  verdict: str | None
  if len(answer) == 1:
    verdict = {'y': 'yes', 'n': 'no'}.get(answer)
  else:
    verdict = next((word for word in ('yes', 'no') if word in answer[:4]), None)
  return float(verdict == gold.lower().strip().replace('.', ''))
