"""From encoded images and words to the same rows on any hosts and threads."""

import dataclasses
import hashlib
import io

import numpy as np
import PIL.Image
import pytest

from tests import llava_files
from visor_jax.data.pipeline import bin_packing
from visor_jax.data.pipeline import loader
from visor_jax.data.pipeline import order
from visor_jax.data.pipeline import stream
from visor_jax.data.processing import images
from visor_jax.data.processing import packing
from visor_jax.data.processing import processor as processor_lib
from visor_jax.data.processing import text
from visor_jax.data.sources import image_files
from visor_jax.data.sources import records
from visor_jax.spec import batch as batch_lib

SHAPE = batch_lib.RowShape(
  text=400, visual=160, tiles=24, prompts=12, tile=(28, 28), patches=9, taps=4
)


class Source(list):
  """Records in memory."""

  def __init__(self, name, found):
    super().__init__(found)
    self.name = name

  def outline(self, index):
    """Without pixels, as shards have it."""
    found = self[index]
    return dataclasses.replace(found, images=())


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


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('processor')
  llava_files.write_processor(folder)
  return folder


@pytest.fixture(scope='module')
def processor(folder):
  return processor_lib.Processor(
    text.Tokenizer(folder),
    images.recipe(llava_files.preprocessor(), llava_files.config()),
  )


def loading(processor, sources=SOURCES, planned=None, loaded=None):
  """(windows, load) of a run; every call is a new start."""
  planned, loaded = (
    planned or stream.BadRecordCounter(),
    loaded or stream.BadRecordCounter(),
  )
  made = order.Order(1, map(len, sources), (3, 2, 1)[: len(sources)])
  needs = stream.lengths(sources, processor, planned)
  packed = bin_packing.Windows(made, needs, SHAPE, draws=24, rows=14)
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
  found = []
  for step in zip(*parts, strict=True):
    batch = {
      name: np.concatenate([getattr(b, name) for b, _ in step])
      for name in batch_lib.NAMES
    }
    found.append(
      hashlib.sha256(
        b''.join(name.encode() + x.tobytes() for name, x in batch.items())
      ).hexdigest()
    )
  return found


@pytest.fixture(scope='module')
def whole(processor):
  return prints(lambda: loading(processor)[1])


@pytest.mark.parametrize('processes', [1, 2, 4])
@pytest.mark.parametrize('threads', [0, 1, 2])
def test_the_stream_is_the_same_on_any_hosts_with_any_threads(
  processes, threads, processor, whole
):
  """Every process starts with nothing but its number."""
  load = lambda: loading(processor)[1]
  assert prints(load, processes, threads) == whole
  assert len(set(whole)) == len(whole) == 6  # 24 rows, which are two windows


@pytest.mark.parametrize('start', [1, 3, 5])
def test_a_resumed_run_goes_on(start, processor, whole):
  """Also from within a window, on other hosts than before."""
  load = lambda: loading(processor)[1]
  assert prints(load, processes=2, start=start) == whole[start:]


def test_a_row_holds_what_was_planned(processor):
  """Against a row packed by hand, and in the slots that the plan promised."""
  tokenizer, recipe = processor.tokenizer, processor.recipe
  packed, load = loading(processor)
  sources, sharing = set(), 0
  for number in range(14):
    pieces, by_hand = packed.row(number), []
    for p in pieces:
      raw = SOURCES[p.draw.source][p.draw.index]
      plans = [
        images.plan(recipe, *s, alone=len(raw.sizes) == 1) for s in raw.sizes
      ]
      opened = [image_files.open_image(i) for i in raw.images]
      tiles = [images.tiles(i, c) for i, c in zip(opened, plans)]
      by_hand.append(
        dataclasses.replace(
          packing.segment_of_images(
            tokenizer.conversation(raw.turns, len(raw.images)), tiles, plans, 9
          ),
          tiles=np.concatenate([np.zeros((0, 28, 28, 3), np.uint8), *tiles]),
        )
      )
      sources.add(p.draw.source)
    want, (row, extra) = packing.row(by_hand, SHAPE), load(number)
    assert extra is None
    for name in batch_lib.NAMES:
      np.testing.assert_array_equal(row[name], want[name], name)
    for i, p in enumerate(pieces, start=1):
      assert p.need[0] == (row['text_segment'] == i).sum()
      assert p.need[1] == (row['visual_segment'] == i).sum()
      assert p.need[2] == len(by_hand[i - 1].tiles)
      assert p.need[3] == (row['prompt_segment'] == i).sum()
    sharing += len(pieces) > 1
  assert sources == {0, 1, 2} and sharing > 5


@pytest.mark.parametrize('marked', [True, False])
def test_a_cut_conversation_is_the_one_that_ended_earlier(marked, processor):
  """With the images before its end alone; without markers all come first."""
  image = '<image>\n' if marked else ''
  turns = [
    (f'{image}What is this?', 'A car.'),
    ('And its colour?', 'Red.'),
    (f'{image}Is it here?', 'No.'),
  ]
  raw = record('r', [(50, 70), (40, 60)], *turns)
  needs = stream._slots(raw, processor)
  for count, shown in ((1, 1), (2, 1), (3, 2)):
    shown = shown if marked else 2
    short = dataclasses.replace(
      raw,
      images=raw.images[:shown],
      sizes=raw.sizes[:shown],
      turns=raw.turns[:count],
    )
    got = stream.segment(raw, count, processor)
    want = stream.segment(short, count, processor)
    for name in ('tiles', 'gather_index', 'gather_weight', 'before'):
      np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    for field in dataclasses.fields(got.conversation):
      np.testing.assert_array_equal(
        getattr(got.conversation, field.name),
        getattr(want.conversation, field.name),
      )
    assert needs[count - 1].tolist() == [
      len(got.conversation.tokens),
      len(got.gather_index),
      len(got.tiles),
      count,
    ]


# Bad records -----------------------------------------------------------------

GOOD = SOURCES[0][3]
HALF = dataclasses.replace(GOOD, images=(GOOD.images[0][:-300],))
LIES = dataclasses.replace(GOOD, images=SOURCES[0][4].images)
MUTE = dataclasses.replace(GOOD, turns=(records.Turn('What?', ' ', ''),))
MARK = dataclasses.replace(
  GOOD, turns=(records.Turn('<image><image>What?', 'A car.', ''),)
)


class Broken(Source):
  """Raises what its records are, if they are errors."""

  def __getitem__(self, index):
    found = super().__getitem__(index)
    if isinstance(found, ValueError):
      raise found
    return found


@pytest.mark.parametrize('bad', [HALF, LIES])
def test_a_bad_image_leaves_the_rest_of_the_run_as_it_is(bad, processor):
  """Only pixels tell, so the plan is the same: its place becomes padding."""
  signs = Source('signs', SOURCES[0][:3] + [bad] + SOURCES[0][4:])
  tally = stream.BadRecordCounter()
  packed, load = loading(processor)
  _, broken = loading(processor, (signs, *SOURCES[1:]), loaded=tally)
  hurt = 0
  for number in range(14):
    pieces = packed.row(number)
    want, got = load(number)[0], broken(number)[0]
    at = [i for i, p in enumerate(pieces) if p.draw[:2] == (0, 3)]
    if not at:
      for name in batch_lib.NAMES:
        np.testing.assert_array_equal(got[name], want[name], name)
    hurt += len(at)
    kept = [p.need for p in pieces if p.draw[:2] != (0, 3)]
    for slot, name in enumerate(('text_segment', 'visual_segment')):
      assert (got[name] > 0).sum() == sum(n[slot] for n in kept)
      assert got[name].max() <= len(kept)
  assert hurt and tally.bad == {('signs', 'broken image'): hurt}
  assert tally.seen == sum(len(packed.row(r)) for r in range(14))


@pytest.mark.parametrize(
  'bad,reason',
  [
    (MUTE, 'empty answer'),
    (MARK, 'marker count'),
    (records.BadRecord('bad bytes', id='s3'), 'bad bytes'),
    (ValueError('what?'), 'other'),
  ],
)
def test_bad_text_is_not_planned(bad, reason, processor):
  signs = Broken('signs', SOURCES[0][:3] + [bad] + SOURCES[0][4:])
  tally, loaded = stream.BadRecordCounter(), stream.BadRecordCounter()
  packed, load = loading(processor, (signs, *SOURCES[1:]), tally, loaded)
  w = packed.window(0)
  assert w.bad and {packed.order.draw(k)[:2] for k in w.bad} == {(0, 3)}
  assert tally.bad == {('signs', reason): len(w.bad)} and tally.seen == 24
  for number in range(14):
    load(number)
  assert loaded.seen and not loaded.bad


def test_too_many_bad_records_stop_the_run(processor):
  """With counts by source and reason, and the ids to look at first."""
  tally = stream.BadRecordCounter(share=0.02, least=20)
  signs = Source('signs', [HALF] + SOURCES[0][1:])
  _, load = loading(processor, (signs, *SOURCES[1:]), loaded=tally)
  with pytest.raises(
    records.TooManyBad,
    match=(
      r'^\d of \d+ records are bad, more than a share of 0.02: '
      r'signs: broken image \d. The first: signs: s3: broken image: '
    ),
  ):
    prints(lambda: load)
  assert tally.seen >= 20


def test_a_few_records_are_no_share():
  tally = stream.BadRecordCounter(share=0.5, least=3)
  for _ in range(2):
    tally.count('a', records.BadRecord('no turns'))
  with pytest.raises(records.TooManyBad, match='3 of 3 .* a: no turns 3'):
    tally.count('a', records.BadRecord('no turns'))


def test_a_quarter_is_not_too_many_where_a_quarter_may_be_bad():
  tally = stream.BadRecordCounter(share=0.25, least=1)
  for _ in range(25):
    for error in (None, None, None, ValueError('x')):
      tally.count('a', error)
  assert tally.seen == 100 and tally.bad == {('a', 'other'): 25}
