"""Encoded images of every kind, and why a record is refused."""

import io

import numpy as np
import PIL.Image

from visor_jax.data.sources import records

SIDES = (48, 33)  # width, height


def picture(mode='RGB'):
  """Noise, which has pixels up to the end of every file."""
  noise = np.random.default_rng(0).integers(0, 256, (*SIDES[::-1], 3), np.uint8)
  return PIL.Image.fromarray(noise).convert(mode)


def file(kind, mode='RGB', orientation=None, **options):
  out = io.BytesIO()
  if orientation:
    exif = PIL.Image.Exif()
    exif[274] = orientation
    options['exif'] = exif
  picture(mode).save(out, kind, **options)
  return out.getvalue()


JPEG, PNG = file('JPEG'), file('PNG')


def reason(act, *args):
  """Of the BadRecord that a call ends with; None if it does not."""
  try:
    act(*args)
  except records.BadRecord as e:
    assert e.reason in records.REASONS
    return e.reason
