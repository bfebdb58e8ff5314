"""The files of a LLaVA-OneVision checkpoint around its weights, tiny and real.

Real in that transformers reads them: same names, fields, special tokens and
kind of tokenizer as the published ones, with a vocabulary of a few hundred.
"""

import json
import pathlib
import tempfile

import tokenizers
from tokenizers import decoders
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers
from tokenizers import trainers

from visor_jax.families.llava_onevision import recipe as recipe_lib

# In the order of their ids in Qwen2 and LLaVA-OneVision, after the words.
SPECIAL = ('<|endoftext|>', '<|im_start|>', '<|im_end|>', '<image>', '<video>')

# ChatML with Qwen2's system message; an image is a line before the text.
TEMPLATE = """\
{%- if messages[0]['role'] != 'system' -%}
  {{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
  {{ '<|im_start|>' + message['role'] + '\\n' }}
  {%- for part in message['content'] if part['type'] == 'image' -%}
    {{ '<image>\\n' }}
  {%- endfor -%}
  {%- for part in message['content'] if part['type'] == 'text' -%}
    {%- if message['role'] == 'assistant' -%}
      {%- generation -%}
        {{ part['text'] + '<|im_end|>' }}
      {%- endgeneration -%}
    {%- else -%}
      {{ part['text'] + '<|im_end|>' }}
    {%- endif -%}
  {%- endfor -%}
  {{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""

# Qwen2's: contractions, words, single digits, punctuation, line ends, spaces.
_SPLIT = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| "
  r'?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)

_SENTENCES = (
  'You are a helpful assistant.',
  'system user assistant',
  'What is the colour of the car in the picture?',
  'The car is red.',
  'How many people are there? There are 12 people, 3 of them children.',
  'What does the sign say? The sign says "No parking".',
  'Is there a dog on the left of the house? Yes, there is.',
  'No.',
)


def canvases(tile):
  """1..6 tiles each way, in the order of the checkpoints."""
  sides = [tile * i for i in range(1, 7)]
  return [[height, width] for height in sides for width in sides]


def preprocessor(tile=28, pinpoints=None):
  """The fields of preprocessor_config.json."""
  return dict(
    do_convert_rgb=True,
    do_normalize=True,
    do_pad=True,
    do_rescale=True,
    do_resize=True,
    image_grid_pinpoints=pinpoints or canvases(tile),
    image_mean=[0.5, 0.5, 0.5],
    image_std=[0.5, 0.5, 0.5],
    image_processor_type='LlavaOnevisionImageProcessor',
    processor_class='LlavaOnevisionProcessor',
    resample=3,
    rescale_factor=1 / 255,
    size=dict(height=tile, width=tile),
  )


def config(tile=28, patch=8, pinpoints=None):
  """The fields of config.json that speak of images."""
  return dict(
    model_type='llava_onevision',
    vision_aspect_ratio='anyres_max_9',
    image_grid_pinpoints=pinpoints or canvases(tile),
    vision_config=dict(image_size=tile, patch_size=patch),
  )


def recipe(tile=28, patch=8, pinpoints=None, **fields):
  """The recipe of images of these files; `fields` of config.json."""
  with tempfile.TemporaryDirectory() as folder:
    for name, values in (
      ('config.json', config(tile, patch, pinpoints) | fields),
      ('preprocessor_config.json', preprocessor(tile, pinpoints)),
    ):
      (pathlib.Path(folder) / name).write_text(json.dumps(values))
    return recipe_lib.read(folder)


def write_processor(folder, tile=28, patch=8, pinpoints=None):
  """Writes all that a processor reads, but not the model's config.json.

  Args:
    folder: to write into; made if need be.
    tile: side of a tile in pixels.
    patch: side of a patch in pixels.
    pinpoints: [height, width] of each canvas; None for `canvases`.

  Returns:
    dict of ids: pad, start, end, image, video; and `vocabulary`, how many
    tokens there are.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  words = tokenizers.Tokenizer(models.BPE())
  words.normalizer = normalizers.NFC()
  words.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(tokenizers.Regex(_SPLIT), 'isolated'),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )
  words.decoder = decoders.ByteLevel()
  words.train_from_iterator(
    _SENTENCES,
    trainers.BpeTrainer(
      vocab_size=360,
      show_progress=False,
      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ),
  )
  words.add_special_tokens(list(SPECIAL))
  words.save(str(folder / 'tokenizer.json'))
  write = lambda name, fields: (folder / name).write_text(
    json.dumps(fields, indent=2), 'utf-8'
  )
  write(
    'tokenizer_config.json',
    dict(
      add_prefix_space=False,
      bos_token=None,
      eos_token='<|im_end|>',
      model_max_length=32768,
      pad_token='<|endoftext|>',
      unk_token=None,
      tokenizer_class='Qwen2Tokenizer',
      clean_up_tokenization_spaces=False,
      additional_special_tokens=['<|im_start|>', '<|im_end|>'],
      added_tokens_decoder={
        words.token_to_id(token): dict(
          content=token,
          lstrip=False,
          normalized=False,
          rstrip=False,
          single_word=False,
          special=True,
        )
        for token in SPECIAL
      },
    ),
  )
  write('preprocessor_config.json', preprocessor(tile, pinpoints))
  write(
    'processor_config.json',
    dict(
      image_token='<image>',
      video_token='<video>',
      num_image_tokens=(tile // patch) ** 2,
      processor_class='LlavaOnevisionProcessor',
      vision_feature_select_strategy='full',
    ),
  )
  (folder / 'chat_template.jinja').write_text(TEMPLATE, 'utf-8')
  return dict(
    zip(
      ('pad', 'start', 'end', 'image', 'video'), map(words.token_to_id, SPECIAL)
    ),
    vocabulary=words.get_vocab_size(),
  )
