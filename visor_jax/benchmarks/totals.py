"""From scores of answers to a benchmark's number and its parts.

Each takes [(gold, answer, score)], where gold has the columns of the record,
and gives the headline, 0 to 1, and a dict of what else the harness reports,
0 to 1 where no unit is said.
"""

import collections
import statistics


def mean(answered) -> tuple[float, dict]:
  """All answers alike."""
  return _mean(s for _, _, s in answered), {}


def chartqa(answered) -> tuple[float, dict]:
  """All, and the questions of people and those that were made from captions."""
  human = lambda gold: 'human' if gold['type'] == 'human_test' else 'augmented'
  return mean(answered)[0], _by(answered, human)


def ocrbench(answered) -> tuple[float, dict]:
  """All; points by kind of question, of 1000 in the whole benchmark."""
  points = collections.Counter()
  for gold, _, score in answered:
    points[gold['question_type']] += round(score)
  return mean(answered)[0], dict(points=points.total(), **points)


def pope(answered) -> tuple[float, dict]:
  """Accuracy; precision, recall and F1 of yes.

  An answer that is neither yes nor no is wrong, but no false negative: it does
  not lower the recall. yes_ratio is of the right answers, as the harness has
  it; said_yes is of the model's.
  """
  pairs = [
    (gold['answer'].lower().strip(), answer.lower().strip())
    for gold, answer, _ in answered
  ]
  count = collections.Counter(pairs)
  hit = count['yes', 'yes']
  precision = _share(hit, hit + count['no', 'yes'])
  recall = _share(hit, hit + count['yes', 'no'])
  return mean(answered)[0], dict(
    precision=precision,
    recall=recall,
    f1=_share(2 * (precision * recall), precision + recall),
    yes_ratio=_share(sum(g == 'yes' for g, _ in pairs), len(pairs)),
    said_yes=_share(sum(a == 'yes' for _, a in pairs), len(pairs)),
  )


PERCEPTION = (
  'existence',
  'count',
  'position',
  'color',
  'posters',
  'celebrity',
  'scene',
  'landmark',
  'artwork',
  'OCR',
)


def mme(answered) -> tuple[float, dict]:
  """Perception of 2000 points, as a share.

  A category has 100 points for the share of right answers and 100 for that of
  images of which both answers are right. `over_20`, perception through 20, is
  what the paper prints. Images of which not both questions were asked are left
  out and counted as `unpaired`.
  """
  images = collections.defaultdict(list)
  for gold, _, score in answered:
    images[gold['category'], gold['question_id']].append(score)
  points, unpaired = collections.defaultdict(list), 0
  for (category, _), some in images.items():
    if len(some) == 2:
      points[category].append(100 * (sum(some) == 2) + 50 * sum(some))
    else:
      unpaired += 1
  points = {category: _mean(some) for category, some in points.items()}
  perception = sum(p for c, p in points.items() if c in PERCEPTION)
  return perception / 2000, dict(
    perception=perception,
    over_20=perception / 20,
    cognition=sum(p for c, p in points.items() if c not in PERCEPTION),
    unpaired=unpaired,
    **points,
  )


ROUND = 1_000_000  # index of a question whose options are turned once more


def mmbench(answered) -> tuple[float, dict]:
  """Questions answered rightly in every order of their options."""
  right, main = {}, {}
  for gold, _, score in answered:
    number = gold['index'] % ROUND
    right[number] = min(right.get(number, 1.0), score)
    if gold['index'] < ROUND:
      main[number] = gold
  whole = [(gold, '', right[number]) for number, gold in main.items()]
  return mean(whole)[0], dict(
    vanilla=_mean(s for g, _, s in answered if g['index'] < ROUND),
    category=_by(whole, lambda g: g['category']),
    l2_category=_by(whole, lambda g: g['L2-category']),
  )


def mmstar(answered) -> tuple[float, dict]:
  """The mean of the means of 18 kinds, and of those of 6 categories."""
  kind = lambda gold: gold['l2_category']
  level = lambda some: _mean(_by(some, kind).values())
  parts = _parted(answered, lambda gold: gold['category'])
  return level(answered), {c: level(some) for c, some in parts.items()}


def seedbench(answered) -> tuple[float, dict]:
  """Images alone; all in the detail, where videos are asked as frames."""
  parts = _by(answered, lambda gold: gold['data_type'])
  return parts.get('image', mean(answered)[0]), parts | dict(
    all=mean(answered)[0]
  )


def mmmu(answered) -> tuple[float, dict]:
  """All questions alike, and by subject."""
  subject = lambda gold: gold['id'].split('_', 1)[1].rsplit('_', 1)[0]
  return mean(answered)[0], _by(answered, subject)


def _parted(answered, key):
  parts = collections.defaultdict(list)
  for one in answered:
    parts[key(one[0])].append(one)
  return parts


def _by(answered, key):
  """{key: mean of its scores}."""
  return {k: mean(some)[0] for k, some in _parted(answered, key).items()}


def _mean(values):
  values = list(values)
  return statistics.fmean(values) if values else 0.0


def _share(part, whole):
  return part / whole if whole else 0
