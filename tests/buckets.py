"""Object stores on this machine that speak the real protocols: S3 and GCS.

Tests ask for the fixture `root`, an address in a bucket of either.
"""

import functools
import itertools
import logging
import os

import botocore.session
from gcp_storage_emulator import server as gcs
from moto import server as s3
import pytest

from visor_jax.runtime import paths

BUCKET = 'bucket'
SCHEMES = ('gs', 's3')
_numbers = itertools.count()


@functools.cache
def serve() -> dict[str, str]:
  """Serves both until this process ends; returns the variables of clients."""
  for name in ('werkzeug', 'gcp_storage_emulator'):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  google = gcs.create_server('127.0.0.1', 0, True, default_bucket=BUCKET)
  google._api.daemon = True
  google.start()
  google_port = google._api._httpd.server_address[1]
  amazon = s3.ThreadedMotoServer('127.0.0.1', port=0, verbose=False)
  amazon.start()
  variables = {
    'AWS_ENDPOINT_URL': f'http://127.0.0.1:{amazon.get_host_and_port()[1]}',
    'AWS_ACCESS_KEY_ID': 'test',
    'AWS_SECRET_ACCESS_KEY': 'test',
    'AWS_DEFAULT_REGION': 'us-east-1',
    'STORAGE_EMULATOR_HOST': f'http://127.0.0.1:{google_port}',
    'TENSORSTORE_GCS_HTTP_URL': f'http://127.0.0.1:{google_port}',
    'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',  # it does not know what a
    'GOOGLE_CLOUD_PROJECT': 'test',  # bucket is made of
  }
  os.environ.update(variables)  # clients read them once
  client = botocore.session.get_session().create_client('s3')
  client.create_bucket(Bucket=BUCKET)
  return variables


@pytest.fixture(params=SCHEMES)
def root(request, tmp_path, monkeypatch):
  """The address of an empty folder in a bucket."""
  serve()
  monkeypatch.setenv('VISOR_CACHE', str(tmp_path / 'cache'))
  return f'{request.param}://{BUCKET}/{os.getpid()}-{next(_numbers)}'


def upload(folder, address):
  """Puts the files below a folder into a bucket; returns the path there."""
  there = paths.parse(address)
  for file in paths.walk(folder):
    (there / file).write_bytes((folder / file).read_bytes())
  return there
