"""Records in memory, and the rows of a run over them."""

import dataclasses
import hashlib
import io

import numpy as np
import PIL.Image

from tests import llava_files
from visor_jax.data.pipeline import bad_share
from visor_jax.data.pipeline import bin_packing
from visor_jax.data.pipeline import loader
from visor_jax.data.pipeline import order
from visor_jax.data.pipeline import stream
from visor_jax.data.processing import text
from visor_jax.data.sources import records
from visor_jax.families.llava_onevision import processor as processor_lib
from visor_jax.spec import batch as batch_lib

SHAPE = batch_lib.RowShape(
  text=400, visual=160, tiles=24, prompts=12, tile=(28, 28), patches=9, taps=4
)


class Source(list):
  """Records in memory."""

  def __init__(self, name, items):
    super().__init__(items)
    self.name = name

  def outline(self, index):
    """Without pixels, as shards have it."""
    return dataclasses.replace(self[index], images=())


def png(rng, height, width):
  file = io.BytesIO()
  PIL.Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(
    file, 'PNG'
  )
  return file.getvalue()


def record(name, sizes, *turns, seed=0):
  rng = np.random.default_rng(seed)
  return records.Record(
    name,
    tuple(png(rng, *s) for s in sizes),
    tuple(sizes),
    tuple(records.Turn(q, a, '') for q, a in turns),
  )


def talk(name, i, sizes):
  turns = [
    (f'What does sign {j} say?', f'The sign says {i}.')
    for j in range(1 + i % 3)
  ]
  return record(name + str(i), sizes, *turns, seed=i)


SOURCES = (
  Source('signs', [talk('s', i, [(20 + 9 * i, 90 - 7 * i)]) for i in range(9)]),
  Source('pairs', [talk('p', i, [(40, 50), (30, 20)]) for i in range(5)]),
  Source('words', [talk('w', i, []) for i in range(4)]),
)


def processor(folder):
  """What a small checkpoint makes of words and images."""
  llava_files.write_processor(folder)
  return processor_lib.Processor(
    text.Tokenizer(folder),
    llava_files.recipe(),
  )


def loading(processor, sources=SOURCES, planned=None, loaded=None, workers=0):
  """(windows, load) of a run; every call is a new start."""
  planned, loaded = (
    planned or bad_share.BadRecordCounter(),
    loaded or bad_share.BadRecordCounter(),
  )
  draws = order.Order(1, map(len, sources), (3, 2, 1)[: len(sources)])
  measure = stream.measure({'full': sources}, processor, workers)('full')
  needs = stream.lengths(sources, measure, planned)
  packed = bin_packing.Windows(draws, needs, SHAPE, draws=24, rows=14)
  return packed, stream.training(packed, sources, processor, loaded)


def prints(load, processes=1, threads=1, start=0, stop=6):
  """A hash of the global batch of 4 rows of each step."""
  each = 4 // processes
  parts = [
    loader.batches(
      load(), 4, start, stop, local_rows=range(p, p + each), threads=threads
    )
    for p in range(0, 4, each)
  ]
  hashes = []
  for step in zip(*parts, strict=True):
    batch = {
      name: np.concatenate([getattr(b, name) for b, _ in step])
      for name in batch_lib.NAMES
    }
    hashes.append(
      hashlib.sha256(
        b''.join(name.encode() + x.tobytes() for name, x in batch.items())
      ).hexdigest()
    )
  return hashes
