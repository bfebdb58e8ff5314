"""Paths as orbax takes them, in buckets too.

Orbax knows files and gs://. Its metadata it writes through etils' epath, which
knows s3://, too; its arrays through tensorstore, which does as well, but is not
told so. What tells it is here, by orbax's private names.
"""

import functools
from importlib import metadata
import os
import pathlib
from typing import Any

from etils import epath
import fsspec.config
import orbax.checkpoint as ocp

from visor_jax.runtime import paths


def of(path: pathlib.Path) -> epath.Path:
  """A path, as orbax takes it."""
  if paths.in_bucket(path):
    _teach()
  return epath.Path(str(path))


def atomicity(folder: pathlib.Path) -> ocp.options.AtomicityOptions:
  """How what is unfinished is told: in a bucket, nothing can be renamed."""
  modes = ocp.options.AtomicityMode
  mode = modes.COMMIT_FILE if paths.in_bucket(folder) else modes.AUTO
  return ocp.options.AtomicityOptions(mode=mode)


@functools.cache
def _teach() -> None:
  """Makes epath and tensorstore speak to the buckets that paths.py knows.

  Raises:
    ValueError: this orbax has other private names.
  """
  # TensorFlow, where it is installed, would speak for epath, not to s3://.
  os.environ.setdefault('EPATH_USE_TF', 'false')
  for scheme in ('gcs', *paths.BUCKETS):  # what others write must be seen
    fsspec.config.conf.setdefault(scheme, {})['use_listings_cache'] = False
  try:
    from orbax.checkpoint._src.path import gcs_utils
    from orbax.checkpoint._src.serialization import tensorstore_utils

    of_gcs = gcs_utils.get_kvstore_for_gcs
    normalize = tensorstore_utils._normalize_path
  except (ImportError, AttributeError) as e:
    raise ValueError(
      'checkpoints in a bucket need the private names of orbax-checkpoint '
      f'0.12.8; this is {metadata.version("orbax-checkpoint")}: {e}'
    ) from e

  def kvstore(path: str) -> dict[str, Any]:
    return _s3(path) if path.startswith('s3://') else of_gcs(path)

  def normalized(path: str) -> str:
    """As orbax has it, which takes one of the two slashes away."""
    return normalize(path).replace('s3:/', 's3://')

  gcs_utils.get_kvstore_for_gcs = kvstore
  tensorstore_utils._use_gcs_driver = paths.in_bucket
  tensorstore_utils._normalize_path = normalized


def _s3(path: str) -> dict[str, Any]:
  """What tensorstore calls a path in a bucket of S3."""
  bucket, _, key = path.removeprefix('s3://').partition('/')
  spec = {'driver': 's3', 'bucket': bucket, 'path': key}
  endpoint = os.environ.get('AWS_ENDPOINT_URL_S3') or os.environ.get(
    'AWS_ENDPOINT_URL'
  )
  if endpoint:  # tensorstore asks for the region as well
    region = os.environ.get('AWS_REGION') or os.environ.get(
      'AWS_DEFAULT_REGION', 'us-east-1'
    )
    spec |= {'endpoint': endpoint, 'aws_region': region}
  return spec
