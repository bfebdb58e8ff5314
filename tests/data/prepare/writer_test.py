"""Shards hold every good record, whoever writes them."""

import dataclasses
import fcntl
import hashlib
import json
import os

import pytest

from tests.data.prepare import command
from visor_jax.data.sources import encoding
from visor_jax.data.sources import readers
from visor_jax.runtime import regular_files
from visor_jax.runtime import retry


@pytest.fixture
def folder(tmp_path):
  return command.images(tmp_path)


def test_shards_hold_the_records_in_order(folder, capsys):
  command.write(folder, command.rows(45))
  assert command.run(folder) == 0
  written = readers.open_source(folder / 'out')
  source = readers.open_source(folder / 'train.json', folder)
  assert len(written) == len(source) == 45
  assert [written[i] for i in range(45)] == [source[i] for i in range(45)]
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
  assert command.check(folder, capsys) == (0, '')


def test_outlines_hold_the_records_without_images(folder):
  """With a bad record, which must be missing from both."""
  data = command.rows(45)
  data[30]['image'] = 'gone.jpg'
  command.write(folder, data)
  assert command.run(folder, max_bad=1) == 0
  out = folder / 'out'
  written = readers.open_source(out)
  expected = [dataclasses.replace(written[i], images=()) for i in range(44)]
  for shard in json.loads((out / 'shards.json').read_text())['shards']:
    facts = shard['outline']
    data = (out / facts['name']).read_bytes()
    assert facts == dict(
      name=shard['name'].replace('.array_record', '.outline'),
      bytes=len(data),
      sha256=hashlib.sha256(data).hexdigest(),
    )
    assert command.GOOD[-100:] not in data
    (out / shard['name']).unlink()
  assert [written.outline(i) for i in range(44)] == expected


def test_any_number_of_workers_writes_the_same_bytes(folder):
  """With bad records, which must be named in the same order, too."""
  data = command.rows(150)
  for i in range(0, 150, 7):
    data[i]['image'] = 'gone.jpg'
  command.write(folder, data)
  for out, workers in ('a', 1), ('b', 2), ('c', 1):
    assert command.run(folder, out, workers=workers, max_bad=1) == 0
  assert (
    command.tree(folder / 'a')
    == command.tree(folder / 'b')
    == command.tree(folder / 'c')
  )
  assert len(command.tree(folder / 'a')) > 4


BAD = (
  ('missing image', dict(image='gone.jpg')),
  ('missing image', dict(image=['good.jpg', None])),
  ('broken image', dict(image='cut.jpg')),
  ('marker count', dict(image=['good.jpg'] * 2)),
  ('empty answer', dict(conversations=command.talk(answer=' '))),
  ('empty question', dict(conversations=command.talk('<image>'))),
  ('bad text', dict(conversations=command.talk(answer='\ud83d'))),
  ('no turns', dict(conversations=[])),
  ('bad turns', dict(conversations=command.talk()[:1])),
  ('bad json', dict(conversations='Why?')),
)


def test_every_bad_record_is_left_out_counted_and_named(folder, capsys):
  (folder / 'cut.jpg').write_bytes(command.GOOD[:-50])
  good = command.rows(20)
  bad = [
    dict(id=f'bad{i}', image='good.jpg', conversations=command.talk()) | change
    for i, (_, change) in enumerate(BAD)
  ]
  command.write(folder, [*good[:10], *bad, *good[10:]])
  assert command.run(folder, max_bad=0.5) == 0
  written = readers.open_source(folder / 'out')
  assert [written[i].id for i in range(len(written))] == [r['id'] for r in good]
  expected = {}
  for i, (reason, _) in enumerate(BAD):
    expected.setdefault(reason, []).append(f'bad{i}')
  index = json.loads((folder / 'out' / 'shards.json').read_text())
  assert index['bad'] == {
    reason: dict(
      count=len(ids), first=ids, detail=index['bad'][reason]['detail']
    )
    for reason, ids in expected.items()
  }
  before, after = (
    line for line in capsys.readouterr().out.splitlines() if 'are bad' in line
  )
  assert 'of a sample of 30 records 10 are bad: ' in before
  for line in before, after:
    assert (
      '2 missing image (bad0, bad1; bad0: train.json line 1: '
      f'{folder}/gone.jpg: No such file or directory)'
    ) in line
    assert (
      '1 bad json (bad9; bad9: train.json line 1: conversations: str, not a '
      'list)'
    ) in line
    assert 'expected user, assistant' in line
  assert command.check(folder, capsys) == (0, '')


def test_too_many_bad_records_stop_the_run(folder, capsys):
  """Finished shards stay, for a run that is told to take them."""
  data = command.rows(400)
  for row in data[:40]:
    row['image'] = 'gone.jpg'
  command.write(folder, data)
  assert command.run(folder, max_bad=0.05) == 1
  console = capsys.readouterr()
  assert (
    'missing image (r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, ...; r0: '
    f'train.json line 1: {folder}/gone.jpg: No such file'
  ) in console.err
  assert 'more than --max-bad 0.05 of all 400' in console.err
  left = command.tree(folder / 'out')
  assert 'shards.json' not in left and 'shards.journal' in left
  assert len(left) < 6, 'it stopped late'
  with pytest.raises(ValueError, match='not finished'):
    readers.open_source(folder / 'out')
  assert command.run(folder, max_bad=0.1) == 0  # exactly 40
  assert len(readers.open_source(folder / 'out')) == 360
  assert left.items() - command.tree(folder / 'out').items() == {
    ('shards.journal', left['shards.journal'])
  }


def test_a_wrong_folder_of_images_is_told_before_anything_is_written(
  folder, capsys
):
  command.write(folder, command.rows(30))
  assert command.run(folder, images=folder / 'gone') == 1
  assert 'gone: no such folder of images' in capsys.readouterr().err
  (folder / 'gone').mkdir()
  assert command.run(folder, images=folder / 'gone', max_bad=1) == 1
  assert 'not one is good: 30 are bad: 30 missing image (r0, r1' in (
    capsys.readouterr().err
  )
  assert not list((folder / 'out').glob('*.array_record'))
  assert command.run(folder) == 0


def test_a_folder_is_not_shared(folder, capsys):
  """Neither with other data, nor with other shards, nor with another run."""
  command.write(folder, command.rows(30))
  assert command.run(folder) == 0
  before = command.tree(folder / 'out')
  assert command.run(folder) == 0
  assert command.run(folder, shard_size=0.1) == 1
  assert 'has shards with shard_mb 0.2; this would be 0.1' in (
    capsys.readouterr().err
  )
  command.write(folder, command.rows(31))
  assert command.run(folder) == 1
  assert 'has shards with fingerprint' in capsys.readouterr().err
  assert command.tree(folder / 'out').items() >= before.items()
  (folder / 'new').mkdir()
  with open(folder / 'new' / 'shards.journal', 'a') as held:
    fcntl.flock(held, fcntl.LOCK_EX)
    assert command.run(folder, 'new') == 1
  assert 'another prepare is writing here' in capsys.readouterr().err


# What is told ----------------------------------------------------------------


def refused(folder, capsys, text, **options):
  """What `prepare` says of a file in which nothing is good: one line."""
  (folder / 'train.json').write_text(text)
  assert command.run(folder, **options) == 1
  console = capsys.readouterr()
  (line,) = console.err.splitlines()
  assert not list((folder / 'out').glob('*.array_record'))
  return line


@pytest.mark.parametrize(
  'text, reason',
  [
    (json.dumps([dict(id='a', text='Why?')]), 'neither conversations nor'),
    (
      json.dumps([dict(id='a', conversations=command.talk()[::-1])]),
      'assistant, user; expected user, assistant',
    ),
    (
      json.dumps([dict(id='a', messages=[dict(role='tool', content='x')])]),
      "'tool'; expected one of human, user",
    ),
    ('{"id": "a"}\n{"id" "b"}\n', "Expecting ':' delimiter at line 2 column 7"),
    ('{"id": "a", }\n', 'at line 1 column'),
    ('[{"id": "a"}] []', 'train.json line 1: '),
    ('[{"id": "a"} {}]', 'train.json line 1: expected one comma'),
    ('[{"id": "a"}', 'cut short after 1 records'),
    ('nothing', 'Expecting value at line 1 column 1'),
    ('', 'no records'),
  ],
)
def test_a_file_that_cannot_be_used_says_why(folder, capsys, text, reason):
  assert reason in refused(folder, capsys, text)


@pytest.mark.parametrize('indent', [None, 1])
@pytest.mark.parametrize('wrapped', [False, True])
def test_messages_of_openai_are_prepared(folder, indent, wrapped):
  rows = [
    dict(
      id=f'r{i}',
      messages=[
        dict(role='system', content='Be brief.'),
        dict(
          role='user',
          content=[
            dict(type='image_url', image_url=dict(url='good.jpg')),
            dict(type='text', text='Why?'),
          ],
        ),
        dict(role='assistant', content='So.'),
      ],
    )
    for i in range(20)
  ]
  data = dict(data=rows) if wrapped else rows
  (folder / 'train.json').write_text(json.dumps(data, indent=indent))
  assert command.run(folder) == 0
  written = readers.open_source(folder / 'out')
  assert len(written) == 20
  (turn,) = written[3].turns
  assert (turn.system, turn.question) == ('Be brief.', '<image>Why?')
  assert written.outline(3).turns == written[3].turns
  assert written[3].images == (command.GOOD,)


def test_one_bad_record_of_a_few_is_an_accident(folder, capsys):
  """One of twenty is more than a hundredth, and says nothing."""
  data = command.rows(20)
  data[7]['image'] = 'gone.jpg'
  command.write(folder, data)
  assert command.run(folder) == 0
  assert '1 missing image (r7; r7: ' in capsys.readouterr().out
  assert command.run(folder, 'strict', max_bad=0) == 1


def test_half_a_character_in_a_path_is_one_bad_record(folder, capsys):
  data = command.rows(20)
  data[7]['image'] = 'x\ud800.jpg'
  command.write(folder, data)
  assert command.run(folder) == 0
  assert "1 missing image (r7; r7: train.json line 1: 'utf-8' codec" in (
    capsys.readouterr().out
  )


def test_an_image_may_lie_outside_where_that_is_asked_for(folder, capsys):
  (folder / 'images').mkdir()
  data = [row | dict(image='../good.jpg') for row in command.rows(20)]
  command.write(folder, data)
  options = dict(images=folder / 'images')
  assert command.run(folder, **options) == 1
  assert '20 outside image' in capsys.readouterr().err
  arguments = [*command.flags(folder, **options), '--follow-outside']
  assert command.main(arguments) == 0
  assert len(readers.open_source(folder / 'out')) == 20


def test_a_video_record_is_told_apart(folder, capsys):
  """Beside what it is: LLaVA's mixture has three sets of them."""
  data = [
    dict(
      id=f'v{i}', video=f'{i}.mp4', conversations=command.talk('<video>\nA?')
    )
    for i in range(20)
  ]
  line = refused(folder, capsys, json.dumps(data))
  assert (
    '20 other modality (v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, ...; v0: '
    in line
  )
  assert "video '0.mp4'" in line


def test_a_disk_that_fails_names_the_record(folder, capsys, monkeypatch):
  command.write(folder, command.rows(20))

  def fail(path, most):
    raise OSError(5, 'Input/output error')

  monkeypatch.setattr(regular_files, 'read', fail)
  monkeypatch.setattr(retry, 'WAITS', (0, 0))
  assert command.run(folder) == 70  # it may pass
  (line,) = capsys.readouterr().err.splitlines()
  assert 'record r0: Input/output error' in line and 'good.jpg' in line


@pytest.mark.parametrize('share', [-0.1, 1.5, 'nan'])
def test_a_share_that_is_none_is_refused(folder, capsys, share):
  command.write(folder, command.rows(20))
  with pytest.raises(SystemExit):
    command.run(folder, max_bad=share)
  assert '--max-bad is' in capsys.readouterr().err
