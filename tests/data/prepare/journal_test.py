"""A killed run is taken up: real processes, a real kill."""

import json
import pathlib
import random
import signal
import subprocess
import time

import pytest

from tests.data.prepare import command
from visor_jax.data.prepare import writer
from visor_jax.data.sources import readers
from visor_jax.data.sources import records


@pytest.fixture
def folder(tmp_path):
  return command.images(tmp_path)


def children(pid):
  return [
    int(p)
    for p in pathlib.Path(f'/proc/{pid}/task/{pid}/children')
    .read_text()
    .split()
  ]


def alive(pid):
  try:
    return pathlib.Path(f'/proc/{pid}/stat').read_text().split()[2] != 'Z'
  except (FileNotFoundError, ProcessLookupError):
    return False


def killed(folder, out, when, workers=2):
  """Runs until `when()`, kills; the workers must follow by themselves."""
  process = subprocess.Popen(
    command.COMMAND + command.flags(folder, out, workers=workers),
    stdout=subprocess.DEVNULL,
  )
  while process.poll() is None and not when():
    time.sleep(0.001)
  theirs = children(process.pid) if process.poll() is None else []
  process.send_signal(signal.SIGKILL)
  code, until = process.wait(), time.monotonic() + 10
  while any(map(alive, theirs)):
    assert time.monotonic() < until, 'workers outlive their parent'
    time.sleep(0.01)
  return code == -signal.SIGKILL, len(theirs)


def stop_after_a_shard(folder):
  """A run that takes nothing, not even what is good."""
  source = readers.open_source(folder / 'train.json', folder)
  with pytest.raises(records.TooManyBad):
    writer.prepare(source, folder / 'out', 0.2, max_bad=-1)


def test_a_killed_run_is_taken_up(folder, capsys):
  """kill -9 amid the shards: whole ones stay, others are made again."""
  command.write(folder, command.rows(1500))
  assert command.run(folder, 'whole') == 0
  out, journal = folder / 'out', folder / 'out' / 'shards.journal'
  was_killed, workers = killed(
    folder,
    'out',
    lambda: journal.exists() and journal.read_text().count('\n') >= 4,
  )
  assert was_killed and workers >= 2
  assert not (out / 'shards.json').exists()
  done = [
    json.loads(line)['name'] for line in journal.read_text().split('\n')[1:-1]
  ]
  times = {name: (out / name).stat().st_mtime_ns for name in done}
  # What the power may leave: half a line, half a shard, a shard lost.
  with open(journal, 'a') as file:
    file.write('{"number": 5')
  (out / 'shard-00099-of-00100.array_record.part').write_bytes(b'half')
  lost = done[:2]
  (out / lost[0]).unlink()
  (out / lost[1]).with_suffix('.outline').unlink()
  capsys.readouterr()
  stop_after_a_shard(folder)
  assert f'{len(done) - 2} of' in capsys.readouterr().out
  assert command.run(folder) == 0
  assert f'{len(done) - 1} of' in capsys.readouterr().out
  assert command.tree(out) == command.tree(folder / 'whole')
  for name, written in times.items():
    assert ((out / name).stat().st_mtime_ns == written) == (name not in lost)


def test_a_killed_run_is_not_taken_up_on_other_data(folder, capsys):
  command.write(folder, command.rows(300))
  stop_after_a_shard(folder)
  command.write(folder, command.rows(301))
  assert command.run(folder) == 1
  assert 'has shards with fingerprint' in capsys.readouterr().err


@pytest.mark.drill
def test_twenty_kills(folder):
  """At random moments, one after the other, then the same bytes."""
  command.write(folder, command.rows(20000))
  assert command.run(folder, 'whole', workers=2) == 0
  draw, kills = random.Random(0), 0
  while kills < 20:
    moment = time.monotonic() + draw.uniform(0.5, 10)
    was_killed, _ = killed(folder, 'out', lambda: time.monotonic() > moment)
    kills += was_killed
    if not was_killed:
      assert command.tree(folder / 'out') == command.tree(folder / 'whole')
      for path in (folder / 'out').iterdir():
        path.unlink()
  assert command.run(folder, workers=2) == 0
  assert command.tree(folder / 'out') == command.tree(folder / 'whole')
