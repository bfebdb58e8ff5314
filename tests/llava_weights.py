"""Tiny LLaVA-OneVision checkpoints, written by transformers.

For tests that hold our weights and numbers against theirs. No axis is as long
as another one that it could be mistaken for, and no weight is at the value
that its initialiser gives it.
"""

import json
import pathlib
import re

from safetensors import torch as safetensors
import torch
import transformers

TEXT = dict(
  hidden_size=32,
  intermediate_size=44,
  num_hidden_layers=3,
  num_attention_heads=4,
  num_key_value_heads=2,
  head_dim=12,
  vocab_size=160,
  rms_norm_eps=1e-5,
  rope_parameters=dict(rope_theta=50000.0, rope_type='default'),
)
VISION = dict(
  hidden_size=24,
  intermediate_size=36,
  num_hidden_layers=2,
  num_attention_heads=3,
  image_size=20,
  patch_size=6,
  layer_norm_eps=1e-5,
)
TOKENS = dict(image_token_index=151, video_token_index=152)
SIDE = 20  # of a tile: three patches and two pixels that are cut off

# What the names of the fourth spelling begin with in the other three.
SPELLINGS = {
  'original': (
    (r'vision_tower\.', 'model.vision_tower.vision_tower.vision_model.'),
    (r'multi_modal_projector\.linear_1\.', 'model.mm_projector.0.'),
    (r'multi_modal_projector\.linear_2\.', 'model.mm_projector.2.'),
    (r'image_newline', 'model.image_newline'),
    (r'language_model\.model\.', 'model.'),
    (r'language_model\.lm_head\.', 'lm_head.'),
  ),
  'converted': ((r'vision_tower\.', 'vision_tower.vision_model.'),),
  'memory': (
    (r'(vision_tower|multi_modal_projector|image_newline)', r'model.\1'),
    (r'language_model\.model\.', 'model.language_model.'),
    (r'language_model\.lm_head\.', 'lm_head.'),
  ),
  'fourth': (),
}


def make(
  folder,
  spelling: str = 'fourth',
  dtype: str = 'float32',
  tied: bool = True,
  shards: bool = False,
  text=None,
  vision=None,
  **config,
):
  """Writes a random checkpoint with its configs.

  Args:
    folder: where to; made if it is not there.
    spelling: of the tensor names, a key of SPELLINGS.
    dtype: of all tensors.
    tied: whether the output head is the embedding.
    shards: whether to write several files.
    text: keys of the text config that differ from TEXT.
    vision: keys of the vision config that differ from VISION.
    **config: keys of the config.

  Returns:
    The transformers model, in eval mode.
  """
  folder = pathlib.Path(folder)
  model = build(dtype, tied, text, vision, **config)
  model.save_pretrained(folder, max_shard_size='20KB' if shards else '1GB')
  (folder / 'preprocessor_config.json').write_text(
    json.dumps(
      dict(
        image_processor_type='LlavaOnevisionImageProcessor',
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        rescale_factor=1 / 255,
        size=dict(height=SIDE, width=SIDE),
      )
    )
  )
  if SPELLINGS[spelling]:
    rename(folder, lambda name: respell(name, spelling))
  return model


def build(
  dtype: str = 'float32', tied: bool = True, text=None, vision=None, **config
):
  """The random model alone; see `make`."""
  config = transformers.LlavaOnevisionConfig(
    **TOKENS
    | dict(
      text_config=dict(TEXT, model_type='qwen2', tie_word_embeddings=tied)
      | (text or {}),
      vision_config=dict(VISION, model_type='siglip_vision_model')
      | (vision or {}),
      image_grid_pinpoints=[
        [h, w]
        for h in range(SIDE, 7 * SIDE, SIDE)
        for w in range(SIDE, 7 * SIDE, SIDE)
      ],
    )
    | config
  )
  torch.manual_seed(0)
  model = transformers.LlavaOnevisionForConditionalGeneration(config)
  with torch.no_grad():
    for name, p in model.named_parameters():
      p.normal_(std=p[0].numel() ** -0.5 if p.ndim > 1 else 0.3)
      if re.search(r'norm\d?\.weight', name):
        p.add_(1)
  return model.to(getattr(torch, dtype)).eval()


def respell(name: str, spelling: str) -> str:
  """A name of the fourth spelling in another one."""
  for old, new in SPELLINGS[spelling]:
    if re.match(old, name):
      return re.sub(old, new, name, count=1)
  return name


def rename(folder, name_of) -> None:
  """Renames the tensors of a checkpoint; those whose name is None go."""
  for path in pathlib.Path(folder).glob('*.safetensors'):
    tensors = safetensors.load_file(path)
    safetensors.save_file(
      {name_of(k): v for k, v in tensors.items() if name_of(k)},
      path,
      {'format': 'pt'},
    )
  index = pathlib.Path(folder) / 'model.safetensors.index.json'
  if index.exists():
    table = json.loads(index.read_text())
    table['weight_map'] = {
      name_of(k): v for k, v in table['weight_map'].items() if name_of(k)
    }
    index.write_text(json.dumps(table))
