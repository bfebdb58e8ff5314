"""`prepare` as a user runs it, and what it is run on."""

import hashlib
import io
import json
import sys

import numpy as np
import PIL.Image

from visor_jax.data.prepare import __main__

COMMAND = [sys.executable, '-m', 'visor_jax.data.prepare']


def file(kind='JPEG'):
  """Noise: 8 kB as JPEG."""
  noise = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
  out = io.BytesIO()
  PIL.Image.fromarray(noise).save(out, kind)
  return out.getvalue()


GOOD = file()


def talk(question='<image>\nWhy?', answer='So.'):
  return [
    {'from': 'human', 'value': question},
    {'from': 'gpt', 'value': answer},
  ]


def images(folder):
  """A folder with the image that the records speak of."""
  (folder / 'good.jpg').write_bytes(GOOD)
  return folder


def write(folder, rows):
  (folder / 'train.json').write_text(json.dumps(rows))


def rows(count):
  return [
    dict(id=f'r{i}', image='good.jpg', conversations=talk())
    for i in range(count)
  ]


def flags(folder, out='out', **options):
  options = (
    dict(
      src=folder / 'train.json',
      images=folder,
      out=folder / out,
      shard_size=0.2,
      workers=1,
    )
    | options
  )
  return [
    word
    for name, value in options.items()
    for word in (f'--{name.replace("_", "-")}', str(value))
  ]


main = __main__.main


def run(folder, out='out', **options):
  return main(flags(folder, out, **options))


def check(folder, capsys):
  """(exit code, what it names)."""
  capsys.readouterr()
  code = __main__.main(['--out', str(folder / 'out'), '--check', '--workers=1'])
  return code, capsys.readouterr().err


def tree(folder):
  return {
    p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()
  }
