"""From encoded images and words to the same rows on any hosts and threads."""

import dataclasses
import gc
import multiprocessing
import time

import numpy as np
import pytest

from tests.data.pipeline import memory
from visor_jax.data.pipeline import bad_share
from visor_jax.data.pipeline import stream
from visor_jax.data.processing import packing
from visor_jax.data.sources import image_files
from visor_jax.families.llava_onevision import images
from visor_jax.families.llava_onevision import tiles as tiles_lib
from visor_jax.spec import batch as batch_lib


@pytest.fixture(scope='module')
def processor(tmp_path_factory):
  return memory.processor(tmp_path_factory.mktemp('processor'))


@pytest.fixture(scope='module')
def hashes(processor):
  return memory.prints(lambda: memory.loading(processor)[1])


@pytest.mark.parametrize('processes', [1, 2, 4])
@pytest.mark.parametrize('threads', [0, 1, 2])
def test_the_stream_is_the_same_on_any_hosts_with_any_threads(
  processes, threads, processor, hashes
):
  """Every process starts with nothing but its number."""

  def load():
    return memory.loading(processor)[1]

  assert memory.prints(load, processes, threads) == hashes
  assert len(set(hashes)) == len(hashes) == 6  # 24 rows, which are two windows


@pytest.mark.parametrize('start', [1, 3, 5])
def test_a_resumed_run_goes_on(start, processor, hashes):
  """Also from within a window, on other hosts than before."""

  def load():
    return memory.loading(processor)[1]

  assert memory.prints(load, processes=2, start=start) == hashes[start:]


def test_a_row_holds_what_was_planned(processor):
  """Against a row packed by hand, and in the slots that the plan promised."""
  tokenizer, recipe = processor.tokenizer, processor.recipe
  packed, load = memory.loading(processor)
  sources, sharing = set(), 0
  for number in range(14):
    pieces, by_hand = packed.row(number), []
    for p in pieces:
      raw = memory.SOURCES[p.draw.source][p.draw.index]
      plans = [
        images.plan(recipe, *s, alone=len(raw.sizes) == 1) for s in raw.sizes
      ]
      opened = [image_files.open_image(i) for i in raw.images]
      tiles = [tiles_lib.cut(i, c) for i, c in zip(opened, plans)]
      by_hand.append(
        dataclasses.replace(
          packing.segment_of_images(
            tokenizer.conversation(raw.turns, len(raw.images)), tiles, plans, 9
          ),
          tiles=np.concatenate([np.zeros((0, 28, 28, 3), np.uint8), *tiles]),
        )
      )
      sources.add(p.draw.source)
    want, (row, extra) = packing.row(by_hand, memory.SHAPE), load(number)
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
  raw = memory.record('r', [(50, 70), (40, 60)], *turns)
  needs = stream.of_record(raw, processor)
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


def test_it_does_not_matter_who_plans(tmp_path):
  """Rows, and what is counted of bad records; a template reads no clock."""
  processor = memory.processor(tmp_path)
  counters = [bad_share.BadRecordCounter(share=0.5) for _ in range(2)]
  alone, others = (
    memory.loading(processor, planned=counter, workers=workers)[0]
    for counter, workers in zip(counters, (0, 2))
  )
  assert [alone.window(n) for n in (3, 0)] == [others.window(n) for n in (3, 0)]
  assert counters[0].seen == counters[1].seen > 60
  assert counters[0].bad == counters[1].bad
  # They go with who asked them.
  planners = multiprocessing.active_children()
  assert planners
  del others
  gc.collect()
  for planner in planners:
    # Another thread waits for it, too, and may hear first how it ended.
    deadline = time.monotonic() + 20
    while planner.exitcode is None and time.monotonic() < deadline:
      time.sleep(0.01)
    assert planner.exitcode == 0
