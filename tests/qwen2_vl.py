"""Tiny Qwen2-VL and Qwen2.5-VL checkpoints, and what transformers says."""

import json
import pathlib
import re

import tokenizers
import torch
import transformers
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl

from tests import llava
from tests import llava_files

PATCH = 6  # pixels to a side; a tile has 12
LEAST, MOST = 4 * 12**2, 40 * 12**2  # pixels of an image
PAD = '<|image_pad|>'
SPECIAL = ('<|vision_start|>', '<|vision_end|>', PAD, '<|video_pad|>')

TEXT = dict(
  hidden_size=48,
  intermediate_size=44,
  num_hidden_layers=3,
  num_attention_heads=4,
  num_key_value_heads=2,
  rms_norm_eps=1e-5,
)
ROPE = dict(rope_theta=50000.0, rope_type='default', mrope_section=[1, 2, 3])
VISION = dict(depth=2, embed_dim=24, num_heads=3, mlp_ratio=2, patch_size=PATCH)
WINDOWED = dict(
  depth=3,
  hidden_size=24,
  intermediate_size=36,
  num_heads=3,
  patch_size=PATCH,
  window_size=36,  # of 3 tiles
  fullatt_block_indexes=[1],
)
MODELS = {  # by whether the tower has windows
  False: (
    transformers.Qwen2VLConfig,
    transformers.Qwen2VLForConditionalGeneration,
  ),
  True: (
    transformers.Qwen2_5_VLConfig,
    transformers.Qwen2_5_VLForConditionalGeneration,
  ),
}

# As on the hub, but for what it says of films.
TEMPLATE = (
  '{% set image_count = namespace(value=0) %}{% for message in messages %}'
  "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
  'You are a helpful assistant.<|im_end|>\n{% endif %}'
  "<|im_start|>{{ message['role'] }}\n"
  "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
  "{% else %}{% for content in message['content'] %}"
  "{% if content['type'] == 'image' or 'image' in content or 'image_url' in"
  ' content %}{% set image_count.value = image_count.value + 1 %}'
  '{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}'
  '<|vision_start|><|image_pad|><|vision_end|>'
  "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}"
  '<|im_end|>\n{% endif %}{% endfor %}'
  '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
)


def build(
  dtype='float32', tied=True, text=None, vision=None, windowed=False, **config
):
  """A random model in eval mode; no weight is idle."""
  config_class, model_class = MODELS[windowed]
  text = TEXT | dict(rope_parameters=dict(ROPE)) | (text or {})
  width = {
    'out_hidden_size' if windowed else 'hidden_size': text['hidden_size']
  }
  config = config_class(
    **dict(
      text_config=text,
      vision_config=(WINDOWED if windowed else VISION) | width | (vision or {}),
      tie_word_embeddings=tied,
    )
    | config
  )
  torch.manual_seed(0)
  model = model_class(config)
  with torch.no_grad():
    for name, x in model.named_parameters():
      x.normal_(std=x[0].numel() ** -0.5 if x.ndim > 1 else 0.3)
      if re.search(r'(norm\d?|ln_q)\.weight', name):
        x.add_(1)
  return model.to(getattr(torch, dtype)).eval()


def write(
  folder, *args, shards=False, text=None, flat=False, most=MOST, **kwargs
):
  """Writes a checkpoint, whole; arguments as of `build`.

  Returns:
    The transformers model, and the ids of `write_processor`.
  """
  folder = pathlib.Path(folder)
  ids = write_processor(folder)
  write_preprocessor(folder, max_pixels=most)
  model = build(
    *args,
    text=dict(vocab_size=ids['vocabulary'] + 3) | (text or {}),
    image_token_id=ids['image'],
    video_token_id=ids['video'],
    vision_start_token_id=ids['vision_start'],
    vision_end_token_id=ids['vision_end'],
    **kwargs,
  )
  model.save_pretrained(folder, max_shard_size='20KB' if shards else '1GB')
  if flat:
    flat_config(folder)
  return model, ids


def write_processor(folder):
  """All that a processor reads; returns ids as of llava_files'."""
  ids = llava_files.write_processor(folder)
  path = folder / 'tokenizer.json'
  words = tokenizers.Tokenizer.from_file(str(path))
  words.add_special_tokens(list(SPECIAL))
  words.save(str(path))
  (folder / 'processor_config.json').unlink()
  (folder / 'chat_template.jinja').write_text(TEMPLATE)
  write_preprocessor(folder)
  names = ('vision_start', 'vision_end', 'image', 'video')
  return (
    ids
    | dict(zip(names, map(words.token_to_id, SPECIAL)))
    | dict(vocabulary=words.get_vocab_size())
  )


def write_preprocessor(folder, **fields):
  """As on the hub."""
  values = dict(
    min_pixels=LEAST,
    max_pixels=MOST,
    patch_size=PATCH,
    temporal_patch_size=2,
    merge_size=2,
    image_mean=image_processing_pil_qwen2_vl.OPENAI_CLIP_MEAN,
    image_std=image_processing_pil_qwen2_vl.OPENAI_CLIP_STD,
    image_processor_type='Qwen2VLImageProcessor',
    processor_class='Qwen2VLProcessor',
  )
  path = folder / 'preprocessor_config.json'
  path.write_text(json.dumps(values | fields))


def flat_config(folder):
  """Makes the config of a checkpoint one as those on the hub are."""
  path = folder / 'config.json'
  config = json.loads(path.read_text())
  text, vision = config.pop('text_config'), config['vision_config']
  rope = text.pop('rope_parameters')
  text |= dict(
    rope_theta=rope['rope_theta'],
    rope_scaling=dict(type='mrope', mrope_section=rope['mrope_section']),
    sliding_window=32768,
    use_sliding_window=False,
  )
  noise = {'in_channels', 'initializer_range', 'rope_parameters', 'model_type'}
  short = {k: v for k, v in vision.items() if k not in noise} | dict(
    in_chans=3,
    spatial_patch_size=PATCH,
  )
  path.write_text(json.dumps(text | config | dict(vision_config=short)))


def memory(name):
  """A name of the files as it is in the memory of transformers."""
  name = re.sub(r'^visual\.', 'model.visual.', name)
  return re.sub(r'^model\.(?!visual\.)', 'model.language_model.', name)


def loads(folder, windowed=False):
  """The model as transformers loads it, with nothing missing or left over."""
  model, problems = MODELS[windowed][1].from_pretrained(
    folder, output_loading_info=True
  )
  assert not any(problems.values()), problems
  return model.eval()


def pixels(images, least=LEAST, most=MOST, patch=PATCH):
  """What the image processor gives."""
  processor = image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil(
    min_pixels=least, max_pixels=most, patch_size=patch
  )
  return dict(processor(images, return_tensors='pt'))


class Oracle(llava.Oracle):
  """transformers, asked with images and a prompt.

  Args:
    folder: where a checkpoint is written.
    most: pixels of an image.
    **kwargs: of `write`.
  """

  def __init__(self, folder, most=MOST, **kwargs):
    self.model, self.ids = write(folder, most=most, **kwargs)
    self.folder, self.most = folder, most
    self._read_words()

  def inputs(self, images, prompt):
    """What its processor would make; it wants torchvision."""
    parts = (
      [dict(type='image')] * len(images) if '<image>' not in prompt else []
    )
    for number, words in enumerate(prompt.split('<image>')):
      parts += [dict(type='image')] * (number > 0)
      parts += [dict(type='text', text=words)] if words else []
    text = self.tokenizer.apply_chat_template(
      [dict(role='user', content=parts)],
      chat_template=self.template,
      add_generation_prompt=True,
      tokenize=False,
    )
    fields = pixels(images, most=self.most) if images else {}
    pieces = text.split(PAD)
    tokens = self._encode(pieces[0])
    for grid, piece in zip(
      fields.get('image_grid_thw', ()), pieces[1:], strict=True
    ):
      count = int(grid.prod()) // 4
      tokens += [self.ids['image']] * count + self._encode(piece)
    ids = torch.tensor([tokens])
    kinds = (ids == self.ids['image']).int()
    return fields | dict(input_ids=ids, mm_token_type_ids=kinds)
