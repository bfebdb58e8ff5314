"""From scores of answers to a benchmark's number and its parts.

Each takes the graded answers, whose `gold` has the columns of the record, and
gives the headline, 0 to 1, and a dict of what else the harness reports, 0 to 1
where no unit is named.
"""

import collections
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import statistics
from typing import Any
from typing import NamedTuple


class Graded(NamedTuple):
  """An answer with its score.

  Attributes:
    gold: {column: value} of what is right.
    answer: the model's words.
    score: 0 to 1.
  """

  gold: Mapping[str, Any]
  answer: str
  score: float


# (headline 0 to 1, {part: number, or numbers by name}).
Result = tuple[float, dict[str, Any]]
Total = Callable[[Sequence[Graded]], Result]


def mean(answers: Sequence[Graded]) -> Result:
  """All answers alike."""
  return _mean_score(answers), {}


def chartqa(answers: Sequence[Graded]) -> Result:
  """All, and the questions of people and those that were made from captions."""
  return _mean_score(answers), _means_by(
    answers,
    lambda gold: 'human' if gold['type'] == 'human_test' else 'augmented',
  )


def ocrbench(answers: Sequence[Graded]) -> Result:
  """All; points by kind of question, of 1000 in the complete benchmark."""
  points: collections.Counter[str] = collections.Counter()
  for gold, _, score in answers:
    points[gold['question_type']] += round(score)
  return _mean_score(answers), dict(points=points.total(), **points)


def pope(answers: Sequence[Graded]) -> Result:
  """Accuracy; precision, recall and F1 of yes.

  An answer that is neither yes nor no is wrong, but no false negative: it does
  not lower the recall. yes_ratio is of the right answers, as the harness has
  it; said_yes is of the model's.
  """
  pairs = [
    (gold['answer'].lower().strip(), answer.lower().strip())
    for gold, answer, _ in answers
  ]
  count = collections.Counter(pairs)
  hits = count['yes', 'yes']
  precision = _ratio(hits, hits + count['no', 'yes'])
  recall = _ratio(hits, hits + count['yes', 'no'])
  return _mean_score(answers), dict(
    precision=precision,
    recall=recall,
    f1=_ratio(2 * (precision * recall), precision + recall),
    yes_ratio=_ratio(sum(gold == 'yes' for gold, _ in pairs), len(pairs)),
    said_yes=_ratio(sum(answer == 'yes' for _, answer in pairs), len(pairs)),
  )


# fmt: off
PERCEPTION = (
  'existence', 'count', 'position', 'color', 'posters', 'celebrity', 'scene',
  'landmark', 'artwork', 'OCR',
)
# fmt: on


def mme(answers: Sequence[Graded]) -> Result:
  """Perception of 2000 points, as a share.

  A category has 100 points for the share of right answers and 100 for that of
  images of which both answers are right. `over_20`, perception through 20, is
  what the paper prints. Images of which not both questions were asked are left
  out and counted as `unpaired`.
  """
  scores_by_image = collections.defaultdict(list)
  for gold, _, score in answers:
    scores_by_image[gold['category'], gold['question_id']].append(score)
  points_by_category = collections.defaultdict(list)
  unpaired = 0
  for (category, _), scores in scores_by_image.items():
    if len(scores) == 2:
      both = sum(scores) == 2
      points_by_category[category].append(100 * both + 50 * sum(scores))
    else:
      unpaired += 1
  points = {
    category: _mean(values) for category, values in points_by_category.items()
  }
  perception = sum(p for c, p in points.items() if c in PERCEPTION)
  cognition = sum(p for c, p in points.items() if c not in PERCEPTION)
  return perception / 2000, dict(
    perception=perception,
    over_20=perception / 20,
    cognition=cognition,
    unpaired=unpaired,
    **points,
  )


ROUND = 1_000_000  # index of a question whose options are turned once more


def mmbench(answers: Sequence[Graded]) -> Result:
  """Questions answered rightly in every order of their options."""
  worst: dict[int, float] = {}
  first: dict[int, Mapping[str, Any]] = {}
  for gold, _, score in answers:
    number = gold['index'] % ROUND
    worst[number] = min(worst.get(number, 1.0), score)
    if gold['index'] < ROUND:
      first[number] = gold
  questions = [
    Graded(gold, '', worst[number]) for number, gold in first.items()
  ]
  return _mean_score(questions), dict(
    vanilla=_mean(a.score for a in answers if a.gold['index'] < ROUND),
    category=_means_by(questions, lambda gold: gold['category']),
    l2_category=_means_by(questions, lambda gold: gold['L2-category']),
  )


def mmstar(answers: Sequence[Graded]) -> Result:
  """The mean of the means of 18 kinds, and of those of 6 categories."""
  categories = _split(answers, lambda gold: gold['category'])
  return _mean_of_kinds(answers), {
    category: _mean_of_kinds(part) for category, part in categories.items()
  }


def _mean_of_kinds(answers: Iterable[Graded]) -> float:
  return _mean(_means_by(answers, lambda gold: gold['l2_category']).values())


def seedbench(answers: Sequence[Graded]) -> Result:
  """Images alone; all in the detail, where videos are asked as frames."""
  parts = _means_by(answers, lambda gold: gold['data_type'])
  overall = _mean_score(answers)
  return parts.get('image', overall), parts | dict(all=overall)


def mmmu(answers: Sequence[Graded]) -> Result:
  """All questions alike, and by subject."""
  return _mean_score(answers), _means_by(answers, _subject)


def _subject(gold: Mapping[str, Any]) -> str:
  """Of an id like validation_Art_Theory_3."""
  return gold['id'].split('_', 1)[1].rsplit('_', 1)[0]


def _split(
  answers: Iterable[Graded], key: Callable[[Mapping[str, Any]], Hashable]
) -> dict[Any, list[Graded]]:
  """{key of the gold: its answers}."""
  parts = collections.defaultdict(list)
  for graded in answers:
    parts[key(graded.gold)].append(graded)
  return parts


def _means_by(
  answers: Iterable[Graded], key: Callable[[Mapping[str, Any]], Hashable]
) -> dict[Any, float]:
  """{key of the gold: mean score of its answers}."""
  return {k: _mean_score(part) for k, part in _split(answers, key).items()}


def _mean_score(answers: Iterable[Graded]) -> float:
  return _mean(graded.score for graded in answers)


def _mean(values: Iterable[float]) -> float:
  values = list(values)
  return statistics.fmean(values) if values else 0.0


def _ratio(part: float, total: float) -> float:
  return part / total if total else 0
