"""What a prompt is answered with, and what it took."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import TypedDict

import jax
import numpy as np

from visor_jax.data import protocols
from visor_jax.eval import costs
from visor_jax.eval import sampling as sampling_lib
from visor_jax.models import visor
from visor_jax.spec import plan as plans


class Draw(TypedDict, total=False):
  """How tokens are drawn, in keywords of `Model.generate`.

  temperature: 0, the default, takes the likeliest token.
  top_p: draw among the likeliest tokens that together have this probability;
    by default all.
  seed: of the draw; by default 0.
  """

  temperature: float
  top_p: float
  seed: int


class Generation(Draw, total=False):
  """How answers are generated, in keywords of `Model.generate`.

  budget: instead of a plan: a share of what `max` takes. The router spends it
    on average over many questions, where it is calibrated; else the most
    expensive viable plan within it answers, the longest of the prompts decides.
  budget_of: what it is a share of: prefill, the default, the LLM's FLOPs for a
    prompt; or total, FLOPs end to end: vision tower, prefill and decoding.
  drop: instead of a plan: the router loses at most this share of max's
    accuracy, on average.
  max_new_tokens: the most to generate; by default 64.
  """

  budget: float | None
  budget_of: str
  drop: float | None
  max_new_tokens: int


class Options(Generation, total=False):
  """How a question is asked, in keywords of `Reading.ask`.

  plan: in the grammar of plan.py; None, the default, for the router where it is
    trained, `max` where VISOR is, else the base.
  history: (question, answer) of the turns before this one; none by default.
  system: what the system says before them; what the template has, by default.
  """

  plan: str | None
  history: Sequence[tuple[str, str]]
  system: str


MAX_NEW_TOKENS = 64


def sampling(
  tokenizer: protocols.Tokenizer, options: Mapping[str, Any]
) -> tuple[sampling_lib.Sampling, jax.Array]:
  """How tokens are drawn, and the key of the draw, by Options.

  Raises:
    TypeError: there is no such option.
    ValueError: see sampling.check.
  """
  unknown = options.keys() - Options.__annotations__
  if unknown:
    raise TypeError(
      f'{sorted(unknown)}: there are {sorted(Options.__annotations__)}'
    )
  drawn = (
    options.get('max_new_tokens', MAX_NEW_TOKENS),
    options.get('temperature', 0.0),
    options.get('top_p', 1.0),
  )
  sampling_lib.check(*drawn)
  tokens, temperature, top_p = drawn
  ends = tokenizer.end, *tokenizer.stops
  return sampling_lib.Sampling(
    tokens, ends, temperature, top_p, tokenizer.rules
  ), jax.random.key(options.get('seed', 0))


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a prompt got.

  Attributes:
    text: up to the end of the turn.
    selector: who chose the plan: fixed, router or base.
    plan: which optional SELF layers ran; None for the base.
    tokens: that were generated, the end of the turn included.
    visual_tokens: of the images.
    text_tokens: of the templated prompt.
    total_flops: end to end: vision tower, connector, LLM prefill and decoding;
      nominal, routing included, see flops.NOMINAL.
    total_saved: the base's over these, for as many tokens of answer.
    llm_prefill_flops: of these, those of the LLM before the first token.
    flops_saved: the base's over these.
    cache_bytes: that the prompt keeps while tokens come.
    ran_vision_flops: nominal, of tower and connector; 0 where the images had
      been read.
    ran_prefill_flops: nominal, of the LLM; those of the text alone where its
      layers had read the images.
    seconds: for all prompts of the call, compiling included where a plan or a
      shape was new.
  """

  text: str
  selector: str
  plan: plans.Plan | None
  tokens: int
  visual_tokens: int
  text_tokens: int
  total_flops: int
  total_saved: float
  llm_prefill_flops: int
  flops_saved: float
  cache_bytes: int
  ran_vision_flops: int
  ran_prefill_flops: int
  seconds: float


def build(
  model: visor.Visor,
  tokenizer: protocols.Tokenizer,
  selector: str,
  plan: plans.Plan | None,
  tokens: np.ndarray,
  size: costs.PromptSize,
  ran: costs.Ran,
  seconds: float,
) -> Answer:
  """The answer of a model.

  Args:
    model: that answered.
    tokenizer: its words.
    selector: who chose the plan.
    plan: that ran, None for the base.
    tokens: int [N], as they were generated.
    size: of the prompt.
    ran: what was computed for it.
    seconds: that it took.
  """
  length = costs.answer_length(tokens, tokenizer.stops)
  routing = int(selector == 'router')
  took = costs.of_answer(model, plan, size, length, routing)
  return Answer(
    text=tokenizer.decode(tokens.tolist()),
    selector=selector,
    plan=plan,
    tokens=length,
    visual_tokens=size.visual,
    text_tokens=size.text,
    total_flops=took['total_flops'],
    total_saved=took['base_total_flops'] / took['total_flops'],
    llm_prefill_flops=took['llm_prefill_flops'],
    flops_saved=took['base_prefill_flops'] / took['llm_prefill_flops'],
    cache_bytes=took['cache_bytes'],
    ran_vision_flops=ran.vision,
    ran_prefill_flops=ran.prefill,
    seconds=seconds,
  )
