"""Tiny LLaVA-OneVision checkpoints, whole, and what transformers says."""

import functools
import types

import numpy as np
import PIL.Image
import torch
import transformers
from transformers.models.llava_onevision import (
  image_processing_pil_llava_onevision as image_processing,
)
from transformers.models.llava_onevision import processing_llava_onevision

from tests import llava_files
from tests import llava_weights

SIDE, PATCH = llava_weights.SIDE, llava_weights.VISION['patch_size']


def write(folder, text=None, **kwargs):
  """Writes a checkpoint, whole; arguments as of `llava_weights.make`.

  Returns:
    The transformers model, and the ids of `llava_files.write_processor`.
  """
  ids = llava_files.write_processor(folder, SIDE, PATCH)
  model = llava_weights.make(
    folder,
    text=dict(vocab_size=ids['vocabulary'] + 3) | (text or {}),
    image_token_index=ids['image'],
    video_token_index=ids['video'],
    **kwargs,
  )
  llava_files.write_processor(folder, SIDE, PATCH)  # over weights' own
  return model, ids


class Reader:
  """What the processor of a checkpoint would make of images and a prompt.

  Args:
    folder: of the checkpoint.
    config: transformers' of it.
  """

  def __init__(self, folder, config):
    self.folder = folder
    self.ids = dict(image=config.image_token_id)
    self._read_words()
    self.pixels = image_processing.LlavaOnevisionImageProcessorPil(
      **llava_files.preprocessor(SIDE)
    )

  def _read_words(self):
    self.tokenizer = transformers.PreTrainedTokenizerFast(
      tokenizer_file=str(self.folder / 'tokenizer.json')
    )
    self.template = (self.folder / 'chat_template.jinja').read_text()

  def inputs(self, images, prompt: str):
    """What its processor would make; its constructor wants torchvision."""
    parts = [{'type': 'image'}] * len(images) if '<image>' not in prompt else []
    text = self.tokenizer.apply_chat_template(
      [{'role': 'user', 'content': parts + [{'type': 'text', 'text': prompt}]}],
      chat_template=self.template,
      add_generation_prompt=True,
      tokenize=False,
    )
    fields = self._fields(images) if images else {}
    pieces = text.split('<image>')
    tokens = self._encode(pieces[0])
    for image, piece in zip(images, pieces[1:], strict=True):
      count = self._count(image, alone=len(images) == 1)
      tokens += [self.ids['image']] * count + self._encode(piece)
    return fields | dict(input_ids=torch.tensor([tokens]))

  def _encode(self, text):
    return self.tokenizer.encode(text, add_special_tokens=False)

  def _fields(self, images):
    """What the image processor gives."""
    fields = dict(self.pixels([images], return_tensors='pt'))
    return fields | dict(batch_num_images=torch.tensor([len(images)]))

  def _count(self, image, alone):
    """Visual tokens of an image."""
    if not alone:
      return (SIDE // PATCH) ** 2 + 1
    counter = object.__new__(processing_llava_onevision.LlavaOnevisionProcessor)
    counter.image_processor = types.SimpleNamespace(
      image_grid_pinpoints=llava_files.canvases(SIDE)
    )
    counter.num_image_tokens = (SIDE // PATCH) ** 2
    counter.vision_aspect_ratio = 'anyres_max_9'
    return counter._get_number_of_features(
      image.height, image.width, SIDE, SIDE
    )


class Oracle(Reader):
  """transformers, asked with images and a prompt.

  Args:
    folder: where a checkpoint is written.
    text: of `write`, as all that follow.
  """

  def __init__(self, folder, text=None, **kwargs):
    self.model, ids = write(folder, text, **kwargs)
    super().__init__(folder, self.model.config)
    self.ids = ids

  @torch.no_grad()
  def logits(self, images, prompt):
    """float32 [T, C] at text positions."""
    inputs = self.inputs(images, prompt)
    logits = self.model(**inputs).logits[0].float().numpy()
    return logits[inputs['input_ids'][0].numpy() != self.ids['image']]

  @torch.no_grad()
  def generate(self, images, prompt, tokens):
    """Greedy ids, and the gap between the top two logits of each."""
    inputs = self.inputs(images, prompt)
    out = self.model.generate(
      **inputs,
      max_new_tokens=tokens,
      do_sample=False,
      output_logits=True,
      return_dict_in_generate=True,
      eos_token_id=self.ids['end'],
      pad_token_id=self.ids['pad'],
    )
    top = torch.stack(out.logits)[:, 0].float().topk(2).values
    answer = out.sequences[0][inputs['input_ids'].shape[1] :]
    return answer.tolist(), (top[:, 0] - top[:, 1]).tolist()


@functools.lru_cache(maxsize=64)
def picture(height, width, seed=0):
  """Smooth colours with noise."""
  y, x = np.mgrid[:height, :width]
  rng = np.random.default_rng([seed, height, width])
  noise = rng.integers(0, 60, (min(height, 64), min(width, 64), 3))
  noise = np.resize(noise, (height, width, 3))
  a, b = rng.uniform(5, 40, 2)
  waves = np.stack([np.sin(x / a), np.cos(y / b), np.sin((x + y) / a)], -1)
  return PIL.Image.fromarray((97 + 97 * waves + noise).astype(np.uint8))
