"""Bad records leave the rest of a run as it is, or stop it."""

import dataclasses
import json

import numpy as np
import pytest

from tests.data.pipeline import memory
from visor_jax.data.pipeline import bad_share
from visor_jax.data.pipeline import order
from visor_jax.data.pipeline import stream
from visor_jax.data.processing import text
from visor_jax.data.sources import records
from visor_jax.spec import batch as batch_lib


@pytest.fixture(scope='module')
def processor(tmp_path_factory):
  return memory.processor(tmp_path_factory.mktemp('processor'))


GOOD = memory.SOURCES[0][3]
HALF = dataclasses.replace(GOOD, images=(GOOD.images[0][:-300],))
LIES = dataclasses.replace(GOOD, images=memory.SOURCES[0][4].images)
MUTE = dataclasses.replace(GOOD, turns=(records.Turn('What?', ' ', ''),))
MARK = dataclasses.replace(
  GOOD, turns=(records.Turn('<image><image>What?', 'A car.', ''),)
)


class Broken(memory.Source):
  """Raises what its records are, if they are errors."""

  def __getitem__(self, index):
    item = super().__getitem__(index)
    if isinstance(item, ValueError):
      raise item
    return item


@pytest.mark.parametrize('bad', [HALF, LIES])
def test_a_bad_image_leaves_the_rest_of_the_run_as_it_is(bad, processor):
  """Only pixels tell, so the plan is the same: its place becomes padding."""
  signs = memory.Source(
    'signs', memory.SOURCES[0][:3] + [bad] + memory.SOURCES[0][4:]
  )
  counter = bad_share.BadRecordCounter()
  packed, load = memory.loading(processor)
  _, broken = memory.loading(
    processor, (signs, *memory.SOURCES[1:]), loaded=counter
  )
  hurt = 0
  for number in range(14):
    pieces = packed.row(number)
    want, got = load(number)[0], broken(number)[0]
    at = [i for i, p in enumerate(pieces) if p.draw[:2] == (0, 3)]
    if not at:
      for name in batch_lib.NAMES:
        np.testing.assert_array_equal(got[name], want[name], name)
    hurt += len(at)
    good = [p.need for p in pieces if p.draw[:2] != (0, 3)]
    for slot, name in enumerate(('text_segment', 'visual_segment')):
      assert (got[name] > 0).sum() == sum(n[slot] for n in good)
      assert got[name].max() <= len(good)
  assert hurt and counter.bad == {('signs', 'broken image'): hurt}
  assert counter.seen == sum(len(packed.row(r)) for r in range(14))


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
  signs = Broken('signs', memory.SOURCES[0][:3] + [bad] + memory.SOURCES[0][4:])
  counter, loaded = bad_share.BadRecordCounter(), bad_share.BadRecordCounter()
  packed, load = memory.loading(
    processor, (signs, *memory.SOURCES[1:]), counter, loaded
  )
  w = packed.window(0)
  assert w.bad and {packed.order.draw(k)[:2] for k in w.bad} == {(0, 3)}
  assert counter.bad == {('signs', reason): len(w.bad)} and counter.seen == 24
  for number in range(14):
    load(number)
  assert loaded.seen and not loaded.bad


def test_too_many_bad_records_stop_the_run(processor):
  """With counts by source and reason, and the ids to look at first."""
  counter = bad_share.BadRecordCounter(share=0.002)
  signs = memory.Source('signs', [HALF] * 3 + memory.SOURCES[0][3:])
  _, load = memory.loading(
    processor, (signs, *memory.SOURCES[1:]), loaded=counter
  )
  with pytest.raises(
    records.TooManyBad,
    match=(
      r'^\d of \d+ records are bad, more than a share of 0.002: '
      r'signs: broken image \d. The first: signs: s3: broken image: '
    ),
  ):
    memory.prints(lambda: load)


def test_a_word_that_the_model_does_not_know_is_a_reason_of_its_own(tmp_path):
  """transformers raises an IndexError; here no two share a row."""
  processor = memory.processor(tmp_path)
  file = tmp_path / 'tokenizer.json'
  fields = json.loads(file.read_text())
  last = fields['added_tokens'][-1]
  rows = last['id'] + 1
  fields['added_tokens'].append(last | dict(id=rows, content='<point>'))
  file.write_text(json.dumps(fields))
  processor = dataclasses.replace(
    processor, tokenizer=text.Tokenizer(tmp_path, rows=rows)
  )
  record = dataclasses.replace(
    GOOD, turns=(records.Turn('Where?', 'At <point>.', ''),)
  )
  counter = bad_share.BadRecordCounter()
  signs = memory.Source('signs', [GOOD, record])
  measure = stream.measure({'full': [signs]}, processor)('full')
  needs = stream.lengths([signs], measure, counter)
  good, bad = needs([order.Draw(0, 0, 0), order.Draw(0, 1, 0)])
  assert len(good) == 1 and not len(bad)
  assert counter.bad == {('signs', 'unknown token'): 1}
