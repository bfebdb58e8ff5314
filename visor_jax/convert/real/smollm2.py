"""SmolLM2 in a GGUF file: tensors, config and tokenizer of transformers.

Needs the library gguf, see `folder.py`.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import pathlib
import re
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders
from tokenizers import models
from tokenizers import pre_tokenizers

_CONTROL = 3  # the type of a token that no text becomes, <|im_end|> for one

_LAYER = dict(
  attn_norm='input_layernorm',
  attn_q='self_attn.q_proj',
  attn_k='self_attn.k_proj',
  attn_v='self_attn.v_proj',
  attn_output='self_attn.o_proj',
  ffn_norm='post_attention_layernorm',
  ffn_gate='mlp.gate_proj',
  ffn_up='mlp.up_proj',
  ffn_down='mlp.down_proj',
)
_OUTSIDE = dict(token_embd='embed_tokens', output_norm='norm')


@dataclasses.dataclass(frozen=True)
class Decoder:
  """A language model.

  Attributes:
    config: the text_config of config.json.
    tensors: float32, named as in `model` of transformers' class.
    tokenizer: its words.
  """

  config: dict[str, Any]
  tensors: dict[str, np.ndarray]
  tokenizer: tokenizers.Tokenizer


def read(path: pathlib.Path, *more: str) -> Decoder:
  """Reads a file.

  Args:
    path: of the GGUF file.
    *more: special tokens that the vocabulary gets; each has the mean of all
      embeddings.
  """
  import gguf  # an extra, as few need it
  from gguf import quants

  file = gguf.GGUFReader(path)
  fields = {name: field.contents() for name, field in file.fields.items()}
  heads = fields['llama.attention.head_count']
  key_heads = fields['llama.attention.head_count_kv']
  tensors = {
    tensor.name: quants.dequantize(tensor.data, tensor.tensor_type)
    for tensor in file.tensors
  }
  named = dict(_named(tensors, heads, key_heads))
  embedding = named['embed_tokens.weight']
  mean = embedding.mean(axis=0, keepdims=True)
  named['embed_tokens.weight'] = np.concatenate(
    [embedding, *[mean] * len(more)]
  )
  return Decoder(
    dict(
      model_type='llama',
      hidden_size=fields['llama.embedding_length'],
      intermediate_size=fields['llama.feed_forward_length'],
      num_hidden_layers=fields['llama.block_count'],
      num_attention_heads=heads,
      num_key_value_heads=key_heads,
      max_position_embeddings=fields['llama.context_length'],
      rms_norm_eps=fields['llama.attention.layer_norm_rms_epsilon'],
      rope_theta=fields['llama.rope.freq_base'],
      vocab_size=len(embedding) + len(more),
      tie_word_embeddings=True,
    ),
    named,
    _tokenizer(fields, more),
  )


def _named(
  tensors: Mapping[str, np.ndarray], heads: int, key_heads: int
) -> Iterable[tuple[str, np.ndarray]]:
  """Yields tensors by the names that transformers gives them."""
  for name, tensor in tensors.items():
    match = re.fullmatch(r'(?:blk\.(\d+)\.)?(\w+)\.weight', name)
    number, part = match.groups() if match else (None, name)
    if part in ('attn_q', 'attn_k'):
      tensor = unpermuted(tensor, heads if part == 'attn_q' else key_heads)
    if number is None:
      yield f'{_OUTSIDE[part]}.weight', tensor
    else:
      yield f'layers.{number}.{_LAYER[part]}.weight', tensor


def unpermuted(weight: np.ndarray, heads: int) -> np.ndarray:
  """Rows of queries or keys [NH, D] as transformers has them.

  GGUF lays the two halves of a head, which RoPE turns together, row by row.
  """
  split = weight.reshape(heads, -1, 2, weight.shape[1])
  return split.swapaxes(1, 2).reshape(weight.shape)


def _tokenizer(
  fields: Mapping[str, Any], more: Iterable[str]
) -> tokenizers.Tokenizer:
  words = fields['tokenizer.ggml.tokens']
  merges = [tuple(m.split(' ')) for m in fields['tokenizer.ggml.merges']]
  vocabulary = {word: i for i, word in enumerate(words)}
  tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
  # `smollm`: digits one by one, then as GPT-2.
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Digits(individual_digits=True),
      pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
  )
  tokenizer.decoder = decoders.ByteLevel()
  kinds = zip(words, fields['tokenizer.ggml.token_type'])
  special = [word for word, kind in kinds if kind == _CONTROL]
  tokenizer.add_special_tokens([*special, *more])
  return tokenizer
