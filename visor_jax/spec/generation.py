"""What a checkpoint says of its next token beside its logits."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Rules:
  """Of generation_config.json: what acts where the likeliest token is taken.

  Names and meaning are those of transformers.

  Attributes:
    repetition_penalty: logits of tokens that are there already are divided by
      it, negative ones multiplied.
    no_repeat_ngram_size: so many tokens in a row come but once; 0 for no limit.
    min_length: tokens before which no answer ends, the prompt's and those of
      its images included.
    min_new_tokens: tokens before which no answer ends.
    suppress_tokens: never come.
    begin_suppress_tokens: never come first.
    sequence_bias: (tokens, bias of the last behind the others) each; of bad
      words minus infinity.
    forced_eos_token_id: one of them comes last, where nothing else ended it.
    image_token: stands in the prompt for each visual token; -1 for nothing.
  """

  repetition_penalty: float = 1.0
  no_repeat_ngram_size: int = 0
  min_length: int = 0
  min_new_tokens: int = 0
  suppress_tokens: tuple[int, ...] = ()
  begin_suppress_tokens: tuple[int, ...] = ()
  sequence_bias: tuple[tuple[tuple[int, ...], float], ...] = ()
  forced_eos_token_id: tuple[int, ...] = ()
  image_token: int = -1

  @property
  def act(self) -> bool:
    """Whether they change anything."""
    return dataclasses.replace(self, image_token=-1) != Rules()
