"""Tiny FastVLM checkpoints, whole, and what transformers says.

transformers asks timm for the tower; here it gets that of tests/fastvit.py.
"""

import contextlib
import json
import pathlib
import re
import types
from unittest import mock

import PIL.Image
import torch
import transformers
from transformers.models.clip import image_processing_pil_clip
from transformers.models.timm_wrapper import modeling_timm_wrapper

from tests import fastvit
from tests import llava
from tests import llava_files
from tests import llava_weights

SIDE = 128  # four patches of 64 pixels
LAYERS, WIDTHS = (1, 2, 1, 2, 1), (4, 8, 16, 32, 64)
GAIN = 1.5
TOWER = 'model.vision_tower.timm_model.'
APPLE_TOWER = 'model.vision_tower.vision_tower.model.'

# Apple's names of what transformers calls otherwise, as its converter has them.
_APPLE = (
  (re.escape(TOWER) + 'stem', APPLE_TOWER + 'patch_embed'),
  (r'stages\.0\.blocks', 'network.0'),
  (r'stages\.1\.downsample', 'network.1'),
  (r'stages\.1\.blocks', 'network.2'),
  (r'stages\.2\.downsample', 'network.3'),
  (r'stages\.2\.blocks', 'network.4'),
  (r'stages\.3\.downsample', 'network.5'),
  (r'stages\.3\.pos_emb', 'network.6'),
  (r'stages\.3\.blocks', 'network.7'),
  (r'stages\.4\.downsample', 'network.8'),
  (r'stages\.4\.pos_emb', 'network.9'),
  (r'stages\.4\.blocks', 'network.10'),
  (r'(network\.\d+\.proj\.0)\.reparam_conv', r'\1.lkb_reparam'),
  (r'(network\.\d+\.\d+)\.mlp', r'\1.convffn'),
  (r'(layer_scale(_\d)?)\.gamma', r'\1'),
  (r'final_conv\.se\.fc1', 'final_conv.se.reduce'),
  (r'final_conv\.se\.fc2', 'final_conv.se.expand'),
  (r'final_conv', 'conv_exp'),
  (re.escape(TOWER), APPLE_TOWER),
  (r'multi_modal_projector\.linear_1', 'mm_projector.0'),
  (r'multi_modal_projector\.linear_2', 'mm_projector.2'),
  (r'model\.language_model\.', 'model.'),
)


def apple(name):
  """A name of transformers' as Apple's checkpoints have it."""
  for theirs, apples in _APPLE:
    name = re.sub(theirs, apples, name)
  return name


@contextlib.contextmanager
def timm():
  """In here transformers makes towers without timm."""

  def create_model(architecture, pretrained, num_classes, **arguments):
    assert (architecture, pretrained, num_classes) == ('fastvit_mci3', False, 0)
    assert arguments.pop('inference_mode')
    return fastvit.FastVit(**arguments)

  with (
    mock.patch.object(
      modeling_timm_wrapper,
      'timm',
      types.SimpleNamespace(create_model=create_model),
      create=True,
    ),
    mock.patch.object(modeling_timm_wrapper, 'requires_backends'),
  ):
    yield


def build(dtype='float32', tied=True, text=None, **config):
  """A random model in eval mode; no weight or statistic is idle."""
  config = transformers.FastVlmConfig(
    **dict(
      text_config=dict(
        llava_weights.TEXT, model_type='qwen2', tie_word_embeddings=tied
      )
      | (text or {}),
      vision_config=dict(
        model_type='timm_wrapper',
        architecture='fastvit_mci3',
        hidden_size=2 * WIDTHS[-1],
        model_args=dict(
          inference_mode=True, layers=list(LAYERS), embed_dims=list(WIDTHS)
        ),
      ),
      image_token_index=151,
      image_seq_length=4,
    )
    | config
  )
  torch.manual_seed(0)
  with timm():
    model = transformers.FastVlmForConditionalGeneration(config)
  with torch.no_grad():
    for name, x in [*model.named_parameters(), *model.named_buffers()]:
      if 'gamma' in name or 'running_var' in name:
        x.uniform_(0.5, 1.5)
      elif x.is_floating_point() and 'inv_freq' not in name:
        # Louder in the tower, or nothing of an image would be left behind it.
        tower = 'vision_tower' in name
        gain, bias = (GAIN, 0.1) if tower else (1, 0.3)
        x.normal_(std=gain * x[0].numel() ** -0.5 if x.ndim > 1 else bias)
        if re.search(r'(norm|bn)\d?\.weight', name):
          x.add_(1)
      elif 'num_batches' in name:
        x.fill_(12345)
  return model.to(getattr(torch, dtype)).eval()


def flat_config(folder, features=3072):
  """Makes the config of a checkpoint one as Apple's are."""
  path = folder / 'config.json'
  config = json.loads(path.read_text())
  text = config['text_config']
  path.write_text(
    json.dumps(
      text
      | dict(
        architectures=['LlavaQwen2ForCausalLM'],
        model_type='llava_qwen2',
        rope_theta=text.pop('rope_parameters')['rope_theta'],
        image_aspect_ratio='pad',
        mm_hidden_size=features,
        mm_patch_merge_type='flat',
        mm_projector_type='mlp2x_gelu',
        mm_vision_tower=f'mobileclip_l_{SIDE}',
        tokenizer_model_max_length=8192,
      )
    )
  )


def make(folder, *args, shards=False, **kwargs):
  """Writes a random checkpoint with its configs; arguments as of `build`."""
  folder = pathlib.Path(folder)
  model = build(*args, **kwargs)
  model.save_pretrained(folder, max_shard_size='20KB' if shards else '1GB')
  write_preprocessor(folder)
  return model


def write(folder, *args, text=None, **kwargs):
  """Writes a checkpoint, whole; arguments as of `make`.

  Returns:
    The transformers model, and the ids of `llava_files.write_processor`.
  """
  ids = llava_files.write_processor(folder)
  model = make(
    folder,
    *args,
    text=dict(vocab_size=ids['vocabulary'] + 3) | (text or {}),
    image_token_index=ids['image'],
    **kwargs,
  )
  return model, ids


def write_preprocessor(folder):
  """That of converted checkpoints."""
  fields = dict(
    crop_size=dict(height=SIDE, width=SIDE),
    do_center_crop=True,
    image_mean=[0.0] * 3,
    image_std=[1.0] * 3,
    image_processor_type='CLIPImageProcessor',
    resample=3,
    size=dict(shortest_edge=SIDE),
  )
  (folder / 'preprocessor_config.json').write_text(json.dumps(fields))


def loads(folder):
  """The model as transformers loads it, with nothing missing or left over."""
  with timm():
    model, problems = (
      transformers.FastVlmForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
      )
    )
  assert not any(problems.values()), problems
  return model.eval()


class Oracle(llava.Oracle):
  """transformers, asked with images and a prompt.

  Args:
    folder: where a checkpoint is written.
    fit: 'pad' or 'crop', also in its config.json.
    text: keys of the text config.
    **kwargs: of `build`.
  """

  def __init__(self, folder, fit='pad', text=None, **kwargs):
    self.model, self.ids = write(folder, text=text, **kwargs)
    config = json.loads((folder / 'config.json').read_text())
    config['image_aspect_ratio'] = fit
    (folder / 'config.json').write_text(json.dumps(config))
    self.folder, self.fit = folder, fit
    self._read_words()

  def _fields(self, images):
    processor = image_processing_pil_clip.CLIPImageProcessorPil(
      size=dict(shortest_edge=SIDE),
      crop_size=SIDE,
      image_mean=[0.0] * 3,
      image_std=[1.0] * 3,
    )
    if self.fit == 'pad':
      images = [expanded(image) for image in images]  # nothing is cut then
    return dict(processor(images, return_tensors='pt'))

  def _count(self, image, alone):
    return (SIDE // 64) ** 2


def expanded(image):
  """Amid a square of the mean colour, as LLaVA's expand2square lays it."""
  width, height = image.size
  side = max(width, height)
  square = PIL.Image.new('RGB', (side, side), (0, 0, 0))
  before = abs(width - height) // 2
  square.paste(image, (0, before) if width > height else (before, 0))
  return square
