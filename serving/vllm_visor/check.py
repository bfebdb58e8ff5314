"""Whether vLLM says what transformers says of a folder.

  python check.py FOLDER [--plan=max] [--dtype=float32] [IMAGE ...]

Asks both greedily, in batches and alone, about IMAGEs or drawn ones, and ends
with 1 if a token differs. On a CPU and on a card.
"""

import argparse
import os
import sys
from typing import Any

import numpy as np
import PIL.Image
import torch
import transformers
import vllm

QUESTIONS = ('What is the colour of the car?', 'Hm?', 'How many people? ' * 9)


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('folder')
  parser.add_argument('images', nargs='*')
  parser.add_argument('--plan', default='max')
  parser.add_argument('--budget', type=float)
  parser.add_argument('--budget-of', default='prefill')
  parser.add_argument('--dtype', default='float32')
  parser.add_argument('--tokens', type=int, default=32)
  parser.add_argument('--length', type=int, default=2048)
  flags = parser.parse_args()
  os.environ.setdefault('VLLM_CPU_KVCACHE_SPACE', '1')
  pictures = [PIL.Image.open(path).convert('RGB') for path in flags.images]
  pictures = pictures or [drawn(62, 45), drawn(130, 9), drawn(20, 300)]
  asked = [(picture, text) for picture in pictures for text in QUESTIONS]
  asked.append((None, QUESTIONS[1]))
  theirs = transformers_says(flags, asked)
  ours = vllm_says(flags, asked)
  wrong = 0
  for (picture, text), want, got in zip(asked, theirs, ours):
    size = picture.size if picture else 'no image'
    agree = sum(a == b for a, b in zip(want, got))
    wrong += want != got
    print(
      f'{size} {text[:20]!r}: {agree} of {len(want)} tokens', want[:6], got[:6]
    )
  print(f'plan {flags.plan}, {flags.dtype}: {wrong} of {len(asked)} differ')
  return int(wrong > 0)


def plan_of(flags) -> dict[str, Any]:
  """For either; a folder of LLaVA-OneVision has base alone."""
  return {} if flags.plan == 'base' else dict(plan=flags.plan)


def drawn(width: int, height: int) -> PIL.Image.Image:
  noise = np.random.default_rng([width, height]).integers(
    0, 60, (height, width, 3)
  )
  waves = np.sin(np.mgrid[:height, :width].sum(0) / 9)[..., None]
  return PIL.Image.fromarray((97 + 97 * waves + noise).astype(np.uint8))


def prompt(tokenizer, picture, text: str) -> str:
  content = [dict(type='image')] if picture else []
  return tokenizer.apply_chat_template(
    [dict(role='user', content=[*content, dict(type='text', text=text)])],
    add_generation_prompt=True,
    tokenize=False,
  )


def transformers_says(flags, asked) -> list[list[int]]:
  model = transformers.AutoModelForImageTextToText.from_pretrained(
    flags.folder, trust_remote_code=True, dtype=getattr(torch, flags.dtype)
  )
  model = model.to('cuda' if torch.cuda.is_available() else 'cpu').eval()
  processor = transformers.AutoProcessor.from_pretrained(
    flags.folder, trust_remote_code=True
  )
  answers = []
  for picture, text in asked:
    inputs = processor(
      text=prompt(processor.tokenizer, picture, text),
      images=picture,
      return_tensors='pt',
    ).to(model.device)
    out = model.generate(
      **inputs,
      **(budget_of(flags) or plan_of(flags)),
      max_new_tokens=flags.tokens,
      min_new_tokens=flags.tokens,
      do_sample=False,
      return_dict_in_generate=True,
    )
    if hasattr(out, 'plans'):
      print('transformers: plan', *out.plans)
    out = out.sequences
    answers.append(out[0, inputs['input_ids'].shape[1] :].tolist())
  del model
  return answers


def budget_of(flags) -> dict:
  if not flags.budget:
    return {}
  return dict(budget=flags.budget, budget_of=flags.budget_of)


def vllm_says(flags, asked) -> list[list[int]]:
  llm = vllm.LLM(
    flags.folder,
    trust_remote_code=True,
    hf_overrides=plan_of(flags) | budget_of(flags),
    dtype=flags.dtype,
    max_model_len=flags.length,
    max_num_batched_tokens=max(flags.length, 16384),
    max_num_seqs=4,
    enforce_eager=not torch.cuda.is_available(),
  )
  tokenizer = llm.get_tokenizer()
  prompts = []
  for picture, text in asked:
    prompts.append(dict(prompt=prompt(tokenizer, picture, text)))
    if picture:
      prompts[-1]['multi_modal_data'] = dict(image=picture)
  options = vllm.SamplingParams(
    temperature=0, max_tokens=flags.tokens, min_tokens=flags.tokens
  )
  batch = [x.outputs[0].token_ids for x in llm.generate(prompts, options)]
  for number in (0, 4):  # alone, of an image that was read before
    (again,) = llm.generate(prompts[number], options)
    assert list(again.outputs[0].token_ids) == list(batch[number]), number
  return [list(tokens) for tokens in batch]


if __name__ == '__main__':
  sys.exit(main())
