"""Numbers that are there once, whoever keeps them."""

import json
import struct
import sys

import pytest

from visor_jax import config as config_lib
from visor_jax.runtime import console
from visor_jax.runtime import files
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import metrics


def configured(writers):
  config = config_lib.default()
  config.log.writers = writers
  return config


def run_twice(config, folder, killed=lambda: None):
  """A stage of three steps that was killed after its third, saved after two."""
  workdir = workdir_lib.Workdir(folder)
  for start in (0, 2):
    with metrics.open_log(config, workdir, 'full', start) as log:
      for step in range(start + 1, 4):
        log.write(step, {'loss': step / 4})
    killed()
  return workdir


def test_rows_after_the_checkpoint_are_of_a_run_that_is_gone(tmp_path):
  """A resume writes these steps again; twice would bend every plot."""
  path = tmp_path / 'stage' / 'metrics.jsonl'

  def write(start, *steps, run):
    writer = metrics.JsonLines(path, start)
    for step in steps:
      writer.write(step, {'run': run})
    writer.close()

  write(0, 2, 4, 6, run=1)
  with open(path, 'a') as f:
    f.write('{"step": 8, "ru')  # killed while writing
  write(4, 6, run=2)
  assert [(r['step'], r['run']) for r in files.read_jsonl(path)] == [
    (2, 1),
    (4, 1),
    (6, 2),
  ]
  write(0, run=3)  # a fresh start
  assert files.read_jsonl(path) == []


def test_a_row_is_on_disk_as_soon_as_it_is_written(tmp_path):
  """Who watches a run reads the file, and a kill loses nothing."""
  writer = metrics.JsonLines(tmp_path / 'm.jsonl')
  writer.write(1, {'loss': 0.5})
  assert files.read_jsonl(tmp_path / 'm.jsonl') == [{'step': 1, 'loss': 0.5}]
  writer.close()


def test_the_report_has_its_file_by_default(tmp_path):
  workdir = run_twice(config_lib.default(), tmp_path)
  rows = files.read_jsonl(workdir.metrics('full'))
  assert rows == [dict(step=n, loss=n / 4) for n in (1, 2, 3)]


def test_one_process_writes_for_all(tmp_path, monkeypatch):
  monkeypatch.setattr(console, 'muted', lambda: True)
  run_twice(configured('jsonl+tensorboard'), tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_writer_that_there_is_not_is_named(tmp_path):
  with pytest.raises(ValueError, match='log.writers has "csv".*jsonl, tens'):
    run_twice(configured('jsonl+csv'), tmp_path)


def test_a_writer_of_ones_own_is_one_line(tmp_path, monkeypatch):
  """A class with `write` and `close`, and a name for it."""

  class Memory:
    seen = []

    def __init__(self, destination):
      self.seen.append(('open', destination.job, destination.step))

    def write(self, step, numbers):
      self.seen.append((step, dict(numbers)))

    def close(self):
      self.seen.append('closed')

  monkeypatch.setitem(metrics.WRITERS, 'memory', Memory)
  workdir = run_twice(configured('jsonl+memory'), tmp_path)
  assert Memory.seen == [
    ('open', 'full', 0),
    *((n, {'loss': n / 4}) for n in (1, 2, 3)),
    'closed',
    ('open', 'full', 2),
    (3, {'loss': 0.75}),
    'closed',
  ]
  assert len(files.read_jsonl(workdir.metrics('full'))) == 3


def test_tensorboard_shows_what_the_file_has(tmp_path):
  """Rows of steps that are done again are not shown twice."""
  from tensorboardX.proto import event_pb2

  workdir = run_twice(configured('jsonl+tensorboard'), tmp_path)

  def shown():
    for file in sorted(workdir.tensorboard('full').iterdir()):
      data = file.read_bytes()
      while data:
        (size,) = struct.unpack('<Q', data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]
        if event.session_log.status:
          yield 'start', event.step
        yield from (
          (v.tag, event.step, v.simple_value) for v in event.summary.value
        )

  assert list(shown()) == [
    ('start', 1),
    ('loss', 1, 0.25),
    ('loss', 2, 0.5),
    ('loss', 3, 0.75),
    ('start', 3),
    ('loss', 3, 0.75),
  ]
  rows = files.read_jsonl(workdir.metrics('full'))
  assert [row['step'] for row in rows] == [1, 2, 3]


def logged(file):
  """(step, numbers) of a run's file, in frames of a LevelDB log."""
  from wandb.proto import wandb_internal_pb2

  data, at, record = file.read_bytes(), 7, b''  # behind its own header
  while at + 7 <= len(data):
    size, kind = struct.unpack('<HB', data[at + 4 : at + 7])
    record += data[at + 7 : at + 7 + size]
    at += 7 + size
    if kind in (1, 4):  # a whole record, or the last part of one
      parsed = wandb_internal_pb2.Record.FromString(record)
      record = b''
      if parsed.WhichOneof('record_type') == 'history':
        items = {
          item.key or '/'.join(item.nested_key): json.loads(item.value_json)
          for item in parsed.history.item
        }
        yield (
          items['_step'],
          {key: value for key, value in items.items() if key[0] != '_'},
        )


def test_weights_and_biases_goes_on_with_the_run_of_the_job(
  tmp_path, monkeypatch
):
  """Its steps only rise there: what comes again is dropped by the server."""
  import wandb

  monkeypatch.setenv('WANDB_MODE', 'offline')
  # What wandb runs beside a process ends with it.
  workdir = run_twice(configured('wandb'), tmp_path, wandb.teardown)
  logs = sorted(workdir.wandb('full').glob('offline-run-*/run-*.wandb'))
  assert len(logs) == 2 and len({file.name for file in logs}) == 1
  assert [list(logged(file)) for file in logs] == [
    [(n, {'loss': n / 4}) for n in (1, 2, 3)],
    [(3, {'loss': 0.75})],
  ]
  # From the start it is another run.
  run_twice(configured('wandb'), tmp_path, wandb.teardown)
  logs = workdir.wandb('full').glob('offline-run-*/run-*.wandb')
  assert len({file.name for file in logs}) == 2


@pytest.mark.parametrize(
  'writer,module', [('tensorboard', 'tensorboardX'), ('wandb', 'wandb')]
)
def test_without_its_library_the_extra_is_named(
  writer, module, tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(ValueError, match=rf"pip install 'visor_jax\[{writer}\]'"):
    run_twice(configured(writer), tmp_path)
