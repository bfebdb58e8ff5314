"""`--check` names what is wrong with shards."""

import hashlib
import json
import zlib

from array_record.python import array_record_module
import pytest

from tests.data.prepare import command


@pytest.fixture
def folder(tmp_path):
  return command.images(tmp_path)


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
  existing = reader.read_all()
  reader.close()
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for data in change(existing):
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
      lambda out: outlines(out, lambda data: data[:-1]),
      f'{OUTLINE}: 23 records, not 24',
    ),
    (
      lambda out: outlines(out, lambda data: [data[1], *data[1:]]),
      f'{OUTLINE}: record 0: is not the outline',
    ),
    (lambda out: less(out / 'shards.json'), f'{FIRST}: 24 records, not 25'),
    (lambda out: (out / 'shards.json').unlink(), 'shards.json'),
    (
      lambda out: (out / 'shards.json').write_text('{"format": 0}'),
      'shards.json: format 0, not 3',
    ),
  ],
)
def test_check_names_what_is_wrong(spoil, message, folder, capsys):
  command.write(folder, command.rows(30))
  assert command.run(folder) == 0
  assert command.check(folder, capsys) == (0, '')
  spoil(folder / 'out')
  code, errors = command.check(folder, capsys)
  assert code == 1 and message in errors
  assert len(errors.splitlines()) == 1, errors


def test_check_decodes_every_image(folder, capsys):
  """A PNG with right checksums of wrong pixels passes `prepare`."""
  data = command.file('PNG')
  at = data.index(b'IDAT')
  stop = at + 4 + int.from_bytes(data[at - 4 : at], 'big')
  pixels = data[at : at + 99] + bytes(stop - at - 99)
  (folder / 'wrong.png').write_bytes(
    data[:at]
    + pixels
    + zlib.crc32(pixels).to_bytes(4, 'big')
    + data[stop + 4 :]
  )
  data = command.rows(30)
  data[7]['image'] = 'wrong.png'
  command.write(folder, data)
  assert command.run(folder) == 0
  code, errors = command.check(folder, capsys)
  assert code == 1 and len(errors.splitlines()) == 1
  assert 'record 7: r7: broken image: ' in errors
