"""What a benchmark is: the record that `table` has one of for each."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
from typing import Any

from visor_jax.benchmarks import graders
from visor_jax.benchmarks import prompts
from visor_jax.benchmarks import scores
from visor_jax.benchmarks import totals


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
  """A benchmark as the hub has it.

  Attributes:
    name: short name; also of its folder.
    group: 'coarse' or 'fine'.
    group_source: who put it in its group, 'paper' or 'here'.
    task: the harness's name for it.
    size: number of questions.
    hub: name of the data set.
    config: folder of its files, where there are several.
    split: how the names of its files begin.
    columns: columns that are read, but for images.
    image_columns: columns of images.
    joined: (column, config) where images lie in files of their own, by `id`.
    ask: {column: value} -> the prompt.
    images: {column: value} -> its images, in order.
    max_new_tokens: of an answer.
    gold: columns that grading needs; written to answers and to shards.
    grade: (answer, {column: value} of gold) -> 0 to 1.
    total: graded answers -> (headline 0 to 1, detail).
    judged: whether the harness's own number takes a judge model; `grade` asks
      none.
  """

  name: str
  group: str
  group_source: str = 'paper'
  task: str
  size: int
  hub: str
  config: str = ''
  split: str
  columns: tuple[str, ...]
  image_columns: tuple[str, ...] = ('image',)
  joined: tuple[str, str] | None = None
  ask: Callable[[Mapping[str, Any]], str]
  images: Callable[[Mapping[str, Any]], list[Any]] = prompts.one_image
  max_new_tokens: int = 16
  gold: tuple[str, ...]
  grade: graders.Grader
  total: totals.Total = totals.mean
  judged: bool = False

  def key(self, fields: Mapping[str, Any]) -> str:
    """What is right, as JSON: the `answer` of a turn."""
    gold = {column: fields[column] for column in self.gold}
    return json.dumps(gold, ensure_ascii=False)

  def score(self, answer: str, key: str) -> float:
    """How right an answer is, 0 to 1.

    Args:
      answer: the model's words.
      key: what is right, as `key` writes it.
    """
    return self.grade(answer, json.loads(key))

  def result(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a row of results holds of these answers.

    Args:
      rows: answers as eval.run.answers gives them: gold (a key), answer, score.

    Returns:
      accuracy 0 to 1 and detail, of `total`; scoring, the rules; `of`, how many
      questions there are; `judged`, False where the harness's own number takes
      a judge model, which was not asked.
    """
    accuracy, detail = self.total(
      [
        totals.Graded(json.loads(row['gold']), row['answer'], row['score'])
        for row in rows
      ]
    )
    result = dict(
      accuracy=accuracy,
      detail=detail,
      of=self.size,
      scoring=f'{scores.RULES}, {self.task}',
    )
    if self.judged:
      result['judged'] = False
    return result
