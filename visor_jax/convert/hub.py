"""Checkpoints by their names on the Hugging Face hub."""

import pathlib

from visor_jax.convert import sidecar
from visor_jax.runtime import paths


def local(src: pathlib.Path | str) -> pathlib.Path:
  """The folder of a checkpoint, downloaded if it is a name on the hub.

  Raises:
    ValueError: it is neither a folder nor a name, or cannot be downloaded.
  """
  path = paths.local(src, 'the checkpoint')
  if path.is_dir():
    return path
  if str(src).count('/') != 1 or str(src)[0] in './~':
    raise ValueError(
      f'{src} is neither a folder nor a name on the hub, like OWNER/NAME'
    )
  try:
    import huggingface_hub
  except ImportError:
    raise ValueError(
      f'{src} is no folder; to have it from the hub, pip '
      'install huggingface_hub'
    ) from None
  try:
    return pathlib.Path(
      huggingface_hub.snapshot_download(
        str(src), allow_patterns=[*sidecar.COPIED, '*.safetensors']
      )
    )
  except Exception as e:  # whatever a network raises
    raise ValueError(
      f'{src} is no folder, and could not be had from the hub: {e}'
    ) from e
