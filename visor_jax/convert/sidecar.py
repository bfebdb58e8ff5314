"""What a Hugging Face folder holds beside the weights that a model reads.

Kept with a checkpoint, so that an export is the folder that was imported:
files as they were, tensors of no use to us, and the dtype of every tensor.
"""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

from visor_jax.convert import contents as contents_lib
from visor_jax.convert import safetensors
from visor_jax.convert import visor_folder
from visor_jax.families import table as families

DTYPES = 'tensors.json'
SPELLED = 'names.json'
UNUSED = 'unused.safetensors'
COPIED = ('*.json', '*.txt', '*.jinja', '*.model', 'LICENSE*')


@dataclasses.dataclass(frozen=True)
class Sidecar:
  """Names of tensors are as they are written, see convert/tensors.py.

  Attributes:
    folder: where the files are.
    config: config.json of the base as transformers has it.
    dtypes: {name: dtype} of the tensors that the parameters were read from.
    unused: tensors that are only kept.
    spelled: {name: what the folder that was imported calls it}.
  """

  folder: pathlib.Path
  config: dict[str, Any]
  dtypes: dict[str, str]
  unused: dict[str, safetensors.Tensor]
  spelled: dict[str, str]

  def copy_files(self, folder: pathlib.Path) -> None:
    """Copies configs, tokenizer, templates and licence, byte for byte."""
    ours = (DTYPES, SPELLED, safetensors.INDEX)
    for pattern in COPIED:
      for path in self.folder.glob(pattern):
        if path.name not in ours and path.is_file():
          shutil.copyfile(path, folder / path.name)

  def write(self, folder: pathlib.Path) -> None:
    """Writes what `read` reads, into a new folder."""
    folder.mkdir(parents=True)
    self.copy_files(folder)
    (folder / DTYPES).write_text(json.dumps(self.dtypes, indent=1))
    (folder / SPELLED).write_text(json.dumps(self.spelled, indent=1))
    safetensors.write(folder / UNUSED, self.unused)


def read(folder: pathlib.Path) -> Sidecar:
  """That of a checkpoint's folder hf/, or of a Hugging Face folder itself.

  Raises:
    ValueError: a file is missing or not whole.
  """
  if (folder / DTYPES).exists():
    names = folder / SPELLED  # older imports have none
    return Sidecar(
      folder,
      visor_folder.base_config(
        families.of_folder(folder).read_config(folder).config
      ),
      json.loads((folder / DTYPES).read_text()),
      safetensors.file(folder / UNUSED),
      json.loads(names.read_text()) if names.exists() else {},
    )
  contents = contents_lib.read(folder)
  return Sidecar(
    folder,
    contents.config,
    contents.dtypes,
    contents.unused,
    contents.spelled,
  )
