"""How right an answer is: numbers from 0 to 1."""


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
  """Average normalised Levenshtein similarity, 0 below one half (DocVQA)."""
  a, b = (' '.join(t.lower().split()) for t in (answer, gold))
  longest = max(len(answer), len(gold))
  if not longest:
    return 1.0
  similar = 1 - _levenshtein(a, b) / longest
  return similar if similar >= 0.5 else 0.0


def _levenshtein(a: str, b: str) -> int:
  row = list(range(len(b) + 1))
  for i, x in enumerate(a, start=1):
    diagonal, row[0] = row[0], i
    for j, y in enumerate(b, start=1):
      diagonal, row[j] = row[j], min(
          row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
  return row[-1]


SCORES = {'exact': exact, 'anls': anls, 'token': token}
