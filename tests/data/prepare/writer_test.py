"""`prepare` as a user runs it: real files, real processes, a real kill."""

import dataclasses
import fcntl
import hashlib
import io
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import zlib

from array_record.python import array_record_module
import numpy as np
import PIL.Image
import pytest

from visor_jax.data.prepare import __main__
from visor_jax.data.sources import encoding
from visor_jax.data.sources import readers

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


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'good.jpg').write_bytes(GOOD)
  return tmp_path


def write(folder, rows):
  (folder / 'train.json').write_text(json.dumps(rows))


def rows(count):
  return [
    dict(id=f'r{i}', image='good.jpg', conversations=talk())
    for i in range(count)
  ]


def words(folder, out='out', **options):
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
    w for k, v in options.items() for w in (f'--{k.replace("_", "-")}', str(v))
  ]


def run(folder, out='out', **options):
  return __main__.main(words(folder, out, **options))


def check(folder, capsys):
  """(exit code, what it names)."""
  capsys.readouterr()
  code = __main__.main(['--out', str(folder / 'out'), '--check', '--workers=1'])
  return code, capsys.readouterr().err


def tree(folder):
  return {
    p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()
  }


def test_shards_hold_the_records_in_order(folder, capsys):
  write(folder, rows(45))
  assert run(folder) == 0
  found = readers.open_source(folder / 'out')
  source = readers.open_source(folder / 'train.json', folder)
  assert len(found) == len(source) == 45
  assert [found[i] for i in range(45)] == [source[i] for i in range(45)]
  index = json.loads((folder / 'out' / 'shards.json').read_text())
  names = [s['name'] for s in index['shards']]
  outlines = [s['outline']['name'] for s in index['shards']]
  assert sorted(os.listdir(folder / 'out')) == sorted(
    [*names, *outlines, 'shards.json']
  )
  assert names[1] == f'shard-00001-of-{len(names):05d}.array_record'
  assert index['records'] == sum(s['records'] for s in index['shards']) == 45
  assert index['fingerprint'] == source.fingerprint and index['bad'] == {}
  payload = len(encoding.encode(source[0]))
  for shard in index['shards'][:-1]:
    assert shard['records'] == 200_000 // payload > 5
  assert 'records 45/45' in capsys.readouterr().out
  assert check(folder, capsys) == (0, '')


def test_outlines_hold_the_records_without_images(folder):
  """With a bad record, which must be missing from both."""
  data = rows(45)
  data[30]['image'] = 'gone.jpg'
  write(folder, data)
  assert run(folder, max_bad=1) == 0
  out = folder / 'out'
  found = readers.open_source(out)
  expected = [dataclasses.replace(found[i], images=()) for i in range(44)]
  for shard in json.loads((out / 'shards.json').read_text())['shards']:
    facts = shard['outline']
    data = (out / facts['name']).read_bytes()
    assert facts == dict(
      name=shard['name'].replace('.array_record', '.outline'),
      bytes=len(data),
      sha256=hashlib.sha256(data).hexdigest(),
    )
    assert GOOD[-100:] not in data
    (out / shard['name']).unlink()
  assert [found.outline(i) for i in range(44)] == expected


def test_any_number_of_workers_writes_the_same_bytes(folder):
  """With bad records, which must be named in the same order, too."""
  data = rows(150)
  for i in range(0, 150, 7):
    data[i]['image'] = 'gone.jpg'
  write(folder, data)
  for out, workers in ('a', 1), ('b', 2), ('c', 1):
    assert run(folder, out, workers=workers, max_bad=1) == 0
  assert tree(folder / 'a') == tree(folder / 'b') == tree(folder / 'c')
  assert len(tree(folder / 'a')) > 4


BAD = (
  ('missing image', dict(image='gone.jpg')),
  ('missing image', dict(image=['good.jpg', None])),
  ('broken image', dict(image='cut.jpg')),
  ('marker count', dict(image=['good.jpg'] * 2)),
  ('empty answer', dict(conversations=talk(answer=' '))),
  ('empty question', dict(conversations=talk('<image>'))),
  ('bad text', dict(conversations=talk(answer='\ud83d'))),
  ('no turns', dict(conversations=[])),
  ('bad turns', dict(conversations=talk()[:1])),
  ('bad json', dict(conversations='Why?')),
)


def test_every_bad_record_is_left_out_counted_and_named(folder, capsys):
  (folder / 'cut.jpg').write_bytes(GOOD[:-50])
  good = rows(20)
  bad = [
    dict(id=f'bad{i}', image='good.jpg', conversations=talk()) | change
    for i, (_, change) in enumerate(BAD)
  ]
  write(folder, [*good[:10], *bad, *good[10:]])
  assert run(folder, max_bad=0.5) == 0
  found = readers.open_source(folder / 'out')
  assert [found[i].id for i in range(len(found))] == [r['id'] for r in good]
  expected = {}
  for i, (reason, _) in enumerate(BAD):
    expected.setdefault(reason, []).append(f'bad{i}')
  index = json.loads((folder / 'out' / 'shards.json').read_text())
  assert index['bad'] == {
    reason: dict(count=len(ids), first=ids) for reason, ids in expected.items()
  }
  before, after = (
    line for line in capsys.readouterr().out.splitlines() if 'are bad' in line
  )
  assert 'of a sample of 30 records 10 are bad: ' in before
  for line in before, after:
    assert '2 missing image (bad0, bad1)' in line
    assert '1 bad json (bad9)' in line
  assert check(folder, capsys) == (0, '')


def test_too_many_bad_records_stop_the_run(folder, capsys):
  """Finished shards stay, for a run that is told to take them."""
  data = rows(400)
  for row in data[:40]:
    row['image'] = 'gone.jpg'
  write(folder, data)
  assert run(folder, max_bad=0.05) == 1
  said = capsys.readouterr()
  assert 'missing image (r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, ...)' in (
    said.err
  )
  assert 'more than --max-bad 0.05 of all 400' in said.err
  left = tree(folder / 'out')
  assert 'shards.json' not in left and 'shards.journal' in left
  assert len(left) < 6, 'it stopped late'
  with pytest.raises(ValueError, match='not finished'):
    readers.open_source(folder / 'out')
  assert run(folder, max_bad=0.1) == 0  # exactly 40
  assert len(readers.open_source(folder / 'out')) == 360
  assert left.items() - tree(folder / 'out').items() == {
    ('shards.journal', left['shards.journal'])
  }


def test_a_wrong_folder_of_images_is_told_before_anything_is_written(
  folder, capsys
):
  write(folder, rows(30))
  assert run(folder, images=folder / 'gone', max_bad=1) == 1
  assert 'not one is good: 30 are bad: 30 missing image (r0, r1' in (
    capsys.readouterr().err
  )
  assert not list((folder / 'out').glob('*.array_record'))
  assert run(folder) == 0


def test_a_folder_is_not_shared(folder, capsys):
  """Neither with other data, nor with other shards, nor with another run."""
  write(folder, rows(30))
  assert run(folder) == 0
  before = tree(folder / 'out')
  assert run(folder) == 0
  assert run(folder, shard_size=0.1) == 1
  assert 'has shards with shard_mb 0.2; this would be 0.1' in (
    capsys.readouterr().err
  )
  write(folder, rows(31))
  assert run(folder) == 1
  assert 'has shards with fingerprint' in capsys.readouterr().err
  assert tree(folder / 'out').items() >= before.items()
  (folder / 'new').mkdir()
  with open(folder / 'new' / 'shards.journal', 'a') as held:
    fcntl.flock(held, fcntl.LOCK_EX)
    assert run(folder, 'new') == 1
  assert 'another prepare is writing here' in capsys.readouterr().err


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
    COMMAND + words(folder, out, workers=workers), stdout=subprocess.DEVNULL
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


def test_a_killed_run_is_taken_up(folder, capsys):
  """kill -9 amid the shards: whole ones stay, others are made again."""
  write(folder, rows(1500))
  assert run(folder, 'whole') == 0
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
  assert run(folder, max_bad=-1) == 1  # stops again, after one more shard
  assert f'{len(done) - 2} of' in capsys.readouterr().out
  assert run(folder) == 0
  assert f'{len(done) - 1} of' in capsys.readouterr().out
  assert tree(out) == tree(folder / 'whole')
  for name, written in times.items():
    assert ((out / name).stat().st_mtime_ns == written) == (name not in lost)


def test_a_killed_run_is_not_taken_up_on_other_data(folder, capsys):
  write(folder, rows(300))
  assert run(folder, max_bad=-1) == 1  # stops after its first shard
  write(folder, rows(301))
  assert run(folder) == 1
  assert 'has shards with fingerprint' in capsys.readouterr().err


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def less(path):
  """The index says a record more, of the shard and of all."""
  index = json.loads(path.read_text())
  index['shards'][0]['records'] += 1
  index['records'] += 1
  path.write_text(json.dumps(index))


def outlines(out, change):
  """Writes the first shard's outlines again, as if they had been so."""
  path = out / OUTLINE
  reader = array_record_module.ArrayRecordReader(str(path))
  found = reader.read_all()
  reader.close()
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for data in change(found):
    writer.write(data)
  writer.close()
  data, index = path.read_bytes(), json.loads((out / 'shards.json').read_text())
  index['shards'][0]['outline'] |= dict(
    bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
  )
  (out / 'shards.json').write_text(json.dumps(index))


FIRST = 'shard-00000-of-00002.array_record'
OUTLINE = 'shard-00000-of-00002.outline'


@pytest.mark.parametrize(
  'spoil,message',
  [
    (lambda out: flip(out / FIRST), f'{FIRST}: its bytes are not those'),
    (
      lambda out: (out / FIRST).write_bytes((out / FIRST).read_bytes()[:-9]),
      f'{FIRST}: its bytes are not those',
    ),
    (lambda out: (out / FIRST).unlink(), f'{FIRST}: missing'),
    (lambda out: (out / 'x.array_record').touch(), 'x.array_record: not in'),
    (lambda out: flip(out / OUTLINE), f'{OUTLINE}: its bytes are not those'),
    (lambda out: (out / OUTLINE).unlink(), f'{OUTLINE}: missing'),
    (lambda out: (out / 'x.outline').touch(), 'x.outline: not in'),
    (
      lambda out: outlines(out, lambda found: found[:-1]),
      f'{OUTLINE}: 23 records, not 24',
    ),
    (
      lambda out: outlines(out, lambda found: [found[1], *found[1:]]),
      f'{OUTLINE}: record 0: is not the outline',
    ),
    (lambda out: less(out / 'shards.json'), f'{FIRST}: 24 records, not 25'),
    (lambda out: (out / 'shards.json').unlink(), 'shards.json'),
    (
      lambda out: (out / 'shards.json').write_text('{"format": 0}'),
      'shards.json: format 0, not 2',
    ),
  ],
)
def test_check_names_what_is_wrong(spoil, message, folder, capsys):
  write(folder, rows(30))
  assert run(folder) == 0
  assert check(folder, capsys) == (0, '')
  spoil(folder / 'out')
  code, said = check(folder, capsys)
  assert code == 1 and message in said
  assert len(said.splitlines()) == 1, said


def test_check_decodes_every_image(folder, capsys):
  """A PNG with right checksums of wrong pixels passes `prepare`."""
  data = file('PNG')
  at = data.index(b'IDAT')
  stop = at + 4 + int.from_bytes(data[at - 4 : at], 'big')
  pixels = data[at : at + 99] + bytes(stop - at - 99)
  (folder / 'wrong.png').write_bytes(
    data[:at]
    + pixels
    + zlib.crc32(pixels).to_bytes(4, 'big')
    + data[stop + 4 :]
  )
  data = rows(30)
  data[7]['image'] = 'wrong.png'
  write(folder, data)
  assert run(folder) == 0
  code, said = check(folder, capsys)
  assert code == 1 and len(said.splitlines()) == 1
  assert 'record 7: r7: broken image: ' in said


def test_wrong_words_are_told(folder, capsys):
  write(folder, rows(3))
  assert run(folder, src=folder / 'gone.json') == 1
  assert 'gone.json: no such file' in capsys.readouterr().err
  for wrong in (['--out', 'x'], words(folder, shard_size=0)):
    with pytest.raises(SystemExit, match='2'):
      __main__.main(wrong)
  with pytest.raises(SystemExit, match='0'):
    __main__.main(['--help'])
  said = capsys.readouterr().out
  for word in ('--src', '--images', '--shard-size MB', '--max-bad', '--check'):
    assert word in said


@pytest.mark.drill
def test_twenty_kills(folder):
  """At random moments, one after the other, then the same bytes."""
  write(folder, rows(20000))
  assert run(folder, 'whole', workers=2) == 0
  draw, kills = random.Random(0), 0
  while kills < 20:
    moment = time.monotonic() + draw.uniform(0.5, 10)
    was_killed, _ = killed(folder, 'out', lambda: time.monotonic() > moment)
    kills += was_killed
    if not was_killed:
      assert tree(folder / 'out') == tree(folder / 'whole')
      for path in (folder / 'out').iterdir():
        path.unlink()
  assert run(folder, workers=2) == 0
  assert tree(folder / 'out') == tree(folder / 'whole')
