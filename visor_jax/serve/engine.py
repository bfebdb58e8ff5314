"""One thread that answers: questions wait, and those alike go together.

An image that was read is remembered for other questions about it.
"""

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence
import hashlib
import threading
import time

import numpy as np

from visor_jax import inference
from visor_jax.data import protocols
from visor_jax.eval import answer as answer_lib
from visor_jax.eval import pieces
from visor_jax.eval import reading as reading_lib
from visor_jax.eval import together
from visor_jax.serve import attention_map
from visor_jax.serve import chat
from visor_jax.serve import limits as limits_lib
from visor_jax.serve import meters as meters_lib
from visor_jax.spec import plan as plans

# Told of a question: a piece of its answer, the Answer, or why there is none.
Event = str | answer_lib.Answer | Exception


class Ticket:
  """A question that waits or is being answered.

  Args:
    asked: the request.
    tell: called with each Event, from the thread that answers.
  """

  def __init__(
    self,
    asked: chat.Asked,
    tell: Callable[[Event], object],
  ):
    self.asked, self.tell = asked, tell
    self.arrived = time.monotonic()
    self.cancelled = threading.Event()
    self.question: together.Question | None = None
    # Of the answer, once it is there.
    self.stopped = False  # by its own end, and not by a limit
    self.attention: list[list[float]] | None = None

  def cancel(self) -> None:
    """Nobody waits for the answer any more."""
    self.cancelled.set()


class Engine:
  """Answers the questions of a model.

  Args:
    model: in memory.
    limits: of the server.
    meters: where it counts.
  """

  def __init__(
    self,
    model: inference.Model,
    limits: limits_lib.Limits,
    meters: meters_lib.Meters,
  ):
    self._model, self._limits, self._meters = model, limits, meters
    self.checkpoint = model.asked
    self._waiting: list[Ticket] = []
    self._changed = threading.Condition()
    self._readings: OrderedDict[bytes, reading_lib.Reading] = OrderedDict()
    self._stopping = False
    self._thread = threading.Thread(
      target=self._run, name='engine', daemon=True
    )

  def start(self) -> None:
    """Begins to answer."""
    self._thread.start()

  def stop(self) -> None:
    """Answers what waits, and ends."""
    with self._changed:
      self._stopping = True
      self._changed.notify()
    self._thread.join()

  @property
  def alive(self) -> bool:
    """Whether questions are answered."""
    return self._thread.is_alive()

  def submit(self, ticket: Ticket) -> None:
    """Lets a question wait for its answer.

    Raises:
      Refusal: too many wait.
    """
    with self._changed:
      if self._stopping:
        raise limits_lib.Refusal(503, 'the server is stopping')
      if len(self._waiting) >= self._limits.waiting:
        raise limits_lib.Refusal(
          429, f'{len(self._waiting)} requests wait already; come again'
        )
      self._waiting.append(ticket)
      self._meters.waiting.set(len(self._waiting))
      self._changed.notify()

  def reading(self, images: Sequence[bytes]) -> reading_lib.Reading:
    """What is known of a request's images; they are read if they are new."""
    digest = hashlib.sha256()
    for image in images:
      digest.update(hashlib.sha256(image).digest())
    name = digest.digest()
    if name not in self._readings:
      self._readings[name] = reading_lib.Reading(self.checkpoint, images)
      while len(self._readings) > self._limits.readings:
        self._readings.popitem(last=False)
    self._readings.move_to_end(name)
    return self._readings[name]

  def _run(self) -> None:
    while group := self._next_group():
      try:
        self._answer(group)
      except Exception as e:
        for ticket in group:
          ticket.tell(e)

  def _next_group(self) -> list[Ticket]:
    """The question that has waited longest, and others alike; () to end."""
    while True:
      with self._changed:
        while not self._waiting and not self._stopping:
          self._changed.wait()
        if not self._waiting:
          return []
        candidates = self._waiting[: 4 * self._limits.rows]
      ready = [ticket for ticket in candidates if self._prepare(ticket)]
      group = [x for x in ready if _group(x) == _group(ready[0])]
      group = group[: self._limits.rows]
      if 2 * len(group) <= self._limits.rows:
        group = group[:1]  # two shapes to compile, and few rows to spare
      gone = {id(ticket) for ticket in candidates} - set(map(id, ready))
      gone |= set(map(id, group))
      with self._changed:
        self._waiting = [x for x in self._waiting if id(x) not in gone]
        self._meters.waiting.set(len(self._waiting))
      if group:
        return group

  def _prepare(self, ticket: Ticket) -> bool:
    """Whether a question can be answered; if it cannot, it is told why."""
    if ticket.cancelled.is_set():
      return False
    waited = time.monotonic() - ticket.arrived
    if waited > self._limits.wait_seconds:
      ticket.tell(limits_lib.Refusal(503, f'waited {waited:.0f} s; come again'))
      return False
    if ticket.question is None:
      try:
        ticket.question = together.question(
          self.checkpoint,
          self.reading(ticket.asked.images),
          ticket.asked.text,
          ticket.asked.options,
        )
      except Exception as e:
        ticket.tell(e)
        return False
    return True

  def _answer(self, group: Sequence[Ticket]) -> None:
    """Answers questions that are alike."""
    began = time.monotonic()
    questions = [ticket.question for ticket in group if ticket.question]
    self._meters.rows.observe(len(group))
    for read in together.prefill(self.checkpoint, questions, self._limits.rows):
      tokenizer = self.checkpoint.processor.tokenizer
      growing = {
        row: _Growing(group[number], tokenizer)
        for row, number in enumerate(read.numbers)
      }
      for tokens in together.grow(self.checkpoint, questions[0], read):
        for row, answer in list(growing.items()):
          if self._is_late(answer.ticket):
            del growing[row]
          elif answer.grow(tokens[row]):
            seconds = time.monotonic() - began
            self._finish(answer, read, row, seconds)
            del growing[row]
        if not growing:
          break

  def _is_late(self, ticket: Ticket) -> bool:
    """Whether nobody waits any more, or has waited too long."""
    late = time.monotonic() - ticket.arrived > self._limits.answer_seconds
    if late and not ticket.cancelled.is_set():
      ticket.tell(limits_lib.Refusal(504, 'the answer takes too long'))
    return late or ticket.cancelled.is_set()

  def _finish(
    self,
    growing: '_Growing',
    read: together.Prefilled,
    row: int,
    seconds: float,
  ) -> None:
    """Tells the Answer, and counts it."""
    ticket, meters = growing.ticket, self._meters
    assert ticket.question
    answer = answer_lib.build(
      self.checkpoint.model,
      self.checkpoint.processor.tokenizer,
      ticket.question.selection.selector,
      read.plan,
      growing.tokens,
      ticket.question.prompt.size,
      read.ran[row],
      seconds,
    )
    ticket.stopped = growing.stopped
    if ticket.asked.attention:
      ticket.attention = attention_map.of_question(
        self.checkpoint, ticket.question, read.plan, len(ticket.asked.images)
      )
    ticket.tell(answer)
    name = 'base' if answer.plan is None else plans.name(answer.plan)
    meters.plans.labels(name).inc()
    meters.tokens.labels('prompt').inc(
      answer.visual_tokens + answer.text_tokens
    )
    meters.tokens.labels('answer').inc(answer.tokens)
    meters.whole_answer.observe(time.monotonic() - ticket.arrived)


class _Growing:
  """An answer that comes.

  Args:
    ticket: whose it is.
    tokenizer: of the checkpoint.
  """

  def __init__(self, ticket: Ticket, tokenizer: protocols.Tokenizer):
    self.ticket, self._tokenizer = ticket, tokenizer
    self._text = pieces.Text(tokenizer.decode)
    self.tokens = np.zeros(0, np.int32)
    self.stopped = False

  def grow(self, tokens: np.ndarray) -> bool:
    """Tells what is new in the tokens so far; whether that was all."""
    most = self.ticket.asked.options['max_new_tokens']
    self.tokens = tokens[:most]
    if piece := self._text.grow(self.tokens.tolist()):
      self.ticket.tell(piece)
    stops = list(self._tokenizer.stops)
    self.stopped = bool(np.isin(self.tokens, stops).any())
    if not self.stopped and len(self.tokens) < most:
      return False
    if rest := self._text.rest():
      self.ticket.tell(rest)
    return True


def _group(ticket: Ticket) -> tuple:
  return ticket.question.group if ticket.question else ()
