"""How right an answer is: numbers from 0 to 1.

`SCORES` are for labels and for one's own data. The rules below them, and those
in `choices`, are those by which benchmarks are published: what `RULES` names
does with an answer, oddities included, each named where it is.
tests/benchmarks/oracle.py asks the harness itself; tests hold these rules to
its answers.
"""

import re
import statistics
import string

RULES = 'lmms-eval 0.7.3'


def exact(answer: str, gold: str) -> float:
  """The same words."""
  return float(answer.split() == gold.split())


def token(answer: str, gold: str) -> float:
  """Share of places, of the longer text, that hold the same word."""
  a, b = answer.split(), gold.split()
  if not a and not b:
    return 1.0
  return sum(x == y for x, y in zip(a, b)) / max(len(a), len(b))


def anls(answer: str, gold: str) -> float:
  """Average normalised Levenshtein similarity, 0 below one half (DocVQA).

  Distances are of normal texts, lengths of texts as they were written, in
  capitals.
  """
  a, b = (' '.join(t.lower().split()) for t in (answer, gold))
  longest = max(len(answer.upper()), len(gold.upper()))
  if not longest:
    return 1.0
  similar = 1 - _levenshtein(a, b) / longest
  return similar if similar >= 0.5 else 0.0


def _levenshtein(a: str, b: str) -> int:
  row = list(range(len(b) + 1))
  for i, x in enumerate(a, start=1):
    diagonal, row[0] = row[0], i
    for j, y in enumerate(b, start=1):
      diagonal, row[j] = (
        row[j],
        min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y)),
      )
  return row[-1]


SCORES = {'exact': exact, 'anls': anls, 'token': token}


# Words and numbers -----------------------------------------------------------


def anls_of(answer: str, golds) -> float:
  """`anls` to the most similar of several right answers."""
  return max(anls(answer.strip(), gold) for gold in golds)


def relaxed(answer: str, gold: str) -> float:
  """A number within 5 % of the right one, else the same text (ChartQA).

  A percent sign divides by 100; a thousands separator is no number; nothing is
  near 0.
  """
  answer = answer.strip()
  said, right = _number(answer), _number(gold)
  if said is None or not right:
    return float(answer.lower() == gold.lower())
  return float(abs(said - right) / abs(right) <= 0.05)


def _number(text):
  try:
    if text.endswith('%'):
      return float(text.rstrip('%')) / 100
    return float(text)
  except ValueError:
    return None


def vqa(answer: str, golds) -> float:
  """Agreement with people: right if three of the others said so (TextVQA)."""
  said, golds = _plain(answer.strip()), [_plain(g) for g in golds]
  return float(
    statistics.mean(
      min(1, (golds.count(said) - (gold == said)) / 3) for gold in golds
    )
  )


_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_STOP = re.compile(r'\.(?!\d)')
_DIGITS = dict(
  zip(
    'none zero one two three four five six seven eight nine ten'.split(),
    map(str, (0, *range(11))),
  )
)
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
  for i, c in enumerate(word)
  if c == "'"
}


def _plain(text):
  """What the VQA challenge's server makes of an answer."""
  text = text.lower().replace(',', '').replace('?', '').replace("'s", " 's")
  text = text.strip().replace('\n', ' ').replace('\t', ' ').strip()
  out = text
  for mark in _MARKS:
    beside = f'{mark} ' in text or f' {mark}' in text
    out = out.replace(mark, '' if beside else ' ')
  out = _STOP.sub('', out, 32)  # a flag given as a count: 32 stops at most
  words = [_DIGITS.get(w, w) for w in out.lower().split()]
  return ' '.join(
    _CONTRACTIONS.get(w, w) for w in words if w not in ('a', 'an', 'the')
  )


def contains(answer: str, golds, formula: bool = False) -> float:
  """One of the right answers stands somewhere in it (OCRBench).

  Args:
    answer: what was said.
    golds: right answers.
    formula: spaces are ignored, case is not.
  """

  def plain(text):
    if formula:
      return text.strip().replace('\n', ' ').replace(' ', '')
    return text.translate(_NARROW).lower().strip().replace('\n', ' ')

  return float(any(plain(g) in plain(answer.strip()) for g in golds))


_NARROW = {0x3000: ' '} | {c: c - 0xFEE0 for c in range(0xFF01, 0xFF5F)}


def unpunctuated(answer: str, gold: str) -> float:
  """The same but for case and ASCII punctuation (GQA).

  The harness compares arrays of numpy, in which a letter whose small form is
  longer pushes out the text's end, and zeros at the end are not there.
  """

  def plain(text):
    return (
      text.rstrip('\0')
      .lower()[: len(text)]
      .rstrip('\0')
      .translate(_UNPUNCTUATED)
      .rstrip('\0')
    )

  return float(plain(answer.strip()) == plain(gold))


_UNPUNCTUATED = str.maketrans('', '', string.punctuation)


# Yes or no -------------------------------------------------------------------


def caseless(answer: str, gold: str) -> float:
  """The same but for case and space around it (POPE)."""
  return float(answer.lower().strip() == gold.lower().strip())


def yes_no(answer: str, gold: str) -> float:
  """What its first four letters say (MME)."""
  said, gold = (t.lower().strip().replace('.', '') for t in (answer, gold))
  if len(said) == 1:
    said = {'y': 'yes', 'n': 'no'}.get(said)
  else:
    said = next((w for w in ('yes', 'no') if w in said[:4]), None)
  return float(said == gold)
