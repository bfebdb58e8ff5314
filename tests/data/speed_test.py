"""From JPEGs to batches, beside the pipeline that people have today."""

import io
import json
import time

import numpy as np
import PIL.Image
import pytest
import torch
from transformers.models.llava_onevision import (
  image_processing_pil_llava_onevision as image_processing,
)

from tests import llava_files
from tests import pictures
from tests.data.pipeline import memory
from visor_jax.data.pipeline import loader
from visor_jax.data.pipeline import order
from visor_jax.data.pipeline import stream
from visor_jax.data.prepare import writer
from visor_jax.data.sources import readers
from visor_jax.data.sources import records
from visor_jax.data.suites import corpus
from visor_jax.families.llava_onevision import processor

TILE, PATCH = 384, 14
COUNT = 96  # photos of 480 x 640


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Photos, what is said about them, and a checkpoint's processor."""
  folder = tmp_path_factory.mktemp('photos')
  llava_files.write_processor(folder, TILE, PATCH)
  (folder / 'config.json').write_text(
    json.dumps(llava_files.config(TILE, PATCH))
  )
  rng, rows = np.random.default_rng(0), []
  for i in range(COUNT):
    image, turns = pictures.photo(rng, 480, 640)
    image.save(folder / f'{i}.jpg', quality=88)
    rows.append(
      dict(
        id=str(i),
        image=f'{i}.jpg',
        conversations=[
          {'from': who, 'value': value}
          for q, a in turns
          for who, value in (('human', q), ('gpt', a))
        ],
      )
    )
  (folder / 'train.json').write_text(json.dumps(rows))
  writer.prepare(
    readers.open_source(folder / 'train.json', folder), folder / 'shards', 16
  )
  return folder


def ours(folder, images):
  """Packed rows of uint8 tiles; two threads."""
  suite = corpus.Corpus(
    0,
    dict(
      full=corpus.Mixture((readers.open_source(folder / 'shards'),), (1.0,))
    ),
    processor.read(folder),
    corpus.Settings(
      packed=dict(text=1024, visual=18432, tiles=64, prompts=32),
      prompt=dict(text=256, visual=7424, tiles=37),
      window=256,
      max_bad_fraction=0.01,
      answer_tokens=8,
    ),
  )
  batches = loader.batches(suite.training('full'), 2, 0, images, threads=2)
  next(batches)  # both are timed when they run
  seen, start = 0, time.monotonic()
  for batch, _ in batches:
    # One image a conversation.
    seen += int(batch.visual_segment.max(1).sum())
    if seen >= images:
      return seen / (time.monotonic() - start)


class Photos(torch.utils.data.Dataset):
  """transformers' processor and the same text, record by record."""

  def __init__(self, folder):
    self.records = readers.open_source(folder / 'shards')
    self.processor = processor.read(folder)
    self.pixels = image_processing.LlavaOnevisionImageProcessorPil(
      **llava_files.preprocessor(TILE)
    )

  def __len__(self):
    return 10**6

  def __getitem__(self, index):
    torch.set_num_threads(1)
    raw = self.records[index % len(self.records)]
    image = PIL.Image.open(io.BytesIO(raw.images[0])).convert('RGB')
    talk = stream._conversation(raw, self.processor)
    pixels = self.pixels([[image]], return_tensors='pt')['pixel_values'][0]
    return torch.from_numpy(talk.tokens), pixels


def pad(samples):
  words, pixels = zip(*samples)
  return (
    torch.nn.utils.rnn.pad_sequence(words, batch_first=True),
    torch.nn.utils.rnn.pad_sequence(pixels, batch_first=True),
  )


def theirs(folder, images):
  """A DataLoader with two workers."""
  batches = iter(
    torch.utils.data.DataLoader(
      Photos(folder),
      batch_size=8,
      num_workers=2,
      collate_fn=pad,
      multiprocessing_context='fork',
    )
  )
  next(batches)
  seen, start = 0, time.monotonic()
  for words, _ in batches:
    seen += len(words)
    if seen >= images:
      return seen / (time.monotonic() - start)


@pytest.mark.drill
def test_faster_than_a_data_loader(folder):
  """Images a second from encoded files to batches, in turn."""
  pace = {'ours': [], 'theirs': []}
  for _ in range(5):
    pace['ours'].append(ours(folder, 160))
    pace['theirs'].append(theirs(folder, 80))
  a, b = (np.median(p) for p in pace.values())
  print(f'480 x 640: ours {a:.1f}/s, theirs {b:.1f}/s, {a / b:.2f} times')
  assert a > 1.5 * b


WORDS = """the number of people in this picture is what color are they wearing
and why does it look like a table with values""".split()


@pytest.mark.drill
def test_planning_costs_little_here_where_others_do_it(folder):
  """CPU time of this process for a conversation of one to six turns."""
  rng = np.random.default_rng(0)

  def talk(words):
    return ' '.join(rng.choice(WORDS, words))

  items = [
    records.Record(
      str(i),
      (),
      ((480, 640),),
      tuple(
        records.Turn(talk(15), talk(40), '') for _ in range(rng.integers(1, 7))
      ),
    )
    for i in range(2000)
  ]
  source, taken = memory.Source('talks', items), []
  draws = [order.Draw(0, i, 0) for i in range(len(items))]
  for workers in (0, 2):
    measure = stream.measure(
      {'full': [source]}, processor.read(folder), workers
    )('full')
    list(measure(draws[:50]))  # others have begun
    start = time.process_time()
    list(measure(draws))
    taken.append(1e3 * (time.process_time() - start) / len(draws))
  print('{:.2f} ms a conversation, {:.2f} where two others do'.format(*taken))
  assert taken[1] < 0.2 * taken[0]
