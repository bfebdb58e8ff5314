"""Who does not come, or differs, is named to all; strangers change nothing."""

import json
import socket
import threading
import time

import pytest

from visor_jax.runtime import errors
from visor_jax.runtime import gathering
from visor_jax.runtime import peers
from visor_jax.runtime import roll_call

FACTS = {'code': 'abc', 'config.rows': [1, 2]}
HOST = socket.gethostname()


@pytest.fixture
def call():
  """Processes (index, count, facts, job) as threads -> what they are told."""

  def run(processes, timeout=20.0, before=None):
    with socket.create_server(('127.0.0.1', 0)) as free:
      address = f'127.0.0.1:{free.getsockname()[1]}'
    answers = {}

    def process(number, index, count, facts, job=''):
      try:
        answers[number] = roll_call.roll_call(
          address, count, index, facts, timeout, job
        )
      except (TimeoutError, errors.Passing, errors.Refusal) as e:
        answers[number] = str(e)

    threads = [
      threading.Thread(target=process, args=(i, *p))
      for i, p in enumerate(processes)
    ]
    for thread in threads:
      thread.start()
      if before:
        before(address)
    for thread in threads:
      thread.join()
    return list(answers.values())

  return run


def test_all_are_here(call):
  answers = call([(2, 3, FACTS), (0, 3, FACTS), (1, 3, FACTS)])
  assert answers == [dict.fromkeys(range(3), socket.gethostname())] * 3


def test_a_stranger_at_the_port_is_not_listened_to(call):
  def knock(address):
    host, port = address.split(':')
    for what in (b'GET / HTTP/1.1\r\n', b'{}\n', b'[]\n', b''):
      try:
        with socket.create_connection(
          (host, int(port)), timeout=1
        ) as connection:
          connection.sendall(what)
      except OSError:
        time.sleep(0.1)

  answers = call([(0, 2, FACTS), (1, 2, FACTS)], before=knock)
  assert answers == [dict.fromkeys(range(2), socket.gethostname())] * 2


def test_who_does_not_come_is_named(call):
  """Of 256 hosts, which one must be looked at?"""
  answers = call([(0, 4, FACTS), (2, 4, FACTS)], timeout=1.0)
  assert len(answers) == 2
  for text in answers:
    assert 'of 4 processes these did not come: 1, 3' in text
    assert socket.gethostname() in text


def test_a_first_process_that_does_not_come_is_named(call):
  (text,) = call([(1, 2, FACTS)], timeout=0.5)
  assert 'process 1 of 2 on' in text
  assert 'process 0 at 127.0.0.1' in text and 'does not answer' in text


@pytest.mark.parametrize(
  'count,facts,words',
  [
    (2, FACTS | {'code': 'abd'}, "code is 'abd' instead of 'abc'"),
    (2, FACTS | {'config.rows': [1]}, 'config.rows is [1] instead of [1, 2]'),
    (2, FACTS | {'new': 1}, 'new is 1 instead of None'),
    (3, FACTS, 'one of 3'),
  ],
)
def test_who_differs_is_named_to_all(call, count, facts, words):
  answers = call([(0, 2, FACTS), (1, count, facts)])
  assert answers[0] == answers[1] and words in answers[0]
  assert f'process 1 on {socket.gethostname()}' in answers[0]


def test_two_of_one_number_are_named(call):
  """Left over from a job that was thought dead."""
  answers = call([(0, 3, FACTS), (1, 3, FACTS), (1, 3, FACTS)], timeout=2.0)
  assert any('process 1 came twice' in text for text in answers)


class First:
  """Process 0 in a thread, and connections to it."""

  def __init__(self, count=2, timeout=10.0, job=''):
    with socket.create_server(('127.0.0.1', 0)) as free:
      self.address = free.getsockname()
    self.told = []
    self._thread = threading.Thread(
      target=self._run, args=(count, timeout, job)
    )
    self._thread.start()
    self._connections = []

  def _run(self, count, timeout, job):
    address = '{}:{}'.format(*self.address)
    try:
      self.told.append(
        roll_call.roll_call(address, count, 0, FACTS, timeout, job)
      )
    except (TimeoutError, errors.Passing, errors.Refusal) as e:
      self.told.append(e)

  def connect(self, sends=b''):
    """A connection over which something was sent."""
    while True:
      try:
        connection = socket.create_connection(self.address, timeout=10)
        break
      except ConnectionRefusedError:  # it does not listen yet
        assert not self.told
        time.sleep(0.02)
    self._connections.append(connection)
    connection.sendall(sends)
    return connection

  def ends(self):
    """What it was told, or raised."""
    self._thread.join()
    return self.told[0]

  def close(self):
    self._thread.join()
    for connection in self._connections:
      connection.close()


@pytest.fixture
def first():
  """Starts process 0."""
  started = []

  def start(**kwargs):
    started.append(First(**kwargs))
    return started[-1]

  yield start
  for one in started:
    one.close()


def report(index, **values):
  """What a process sends."""
  known = dict(index=index, host='there', count=2, facts=FACTS)
  return json.dumps(known | values).encode() + b'\n'


def answer(connection):
  return json.loads(connection.makefile('rb').readline())


WELL = {0: HOST, 1: 'there'}
STRANGE = {
  'nothing': b'',
  'no end': b'{"index": 1',
  'no text': b'\xff\xfe\x00\n',
  'no JSON': b'GET / HTTP/1.1\r\n\r\n',
  'TLS': b'\x16\x03\x01\x02\x00\x01\n\xfc',
  'a list': b'[]\n',
  'null': b'null\n',
  'empty': b'{}\n\n\n',
  'deep': b'[' * 100_000 + b'\n',
  'a long number': b'{"index": ' + b'9' * 5000 + b', "host": "there"}\n',
  'facts as a list': report(1, facts=[1]),
  'facts of nothing': report(1, facts=None),
  'host as a number': report(1, host=7),
  'host of two lines': report(1, host='a\nb'),
  'host of a surrogate': report(1, host='\ud800'),
  'host without an end': report(1, host='a' * 10_000),
  'no host': b'{"index": 1, "count": 2, "facts": {}}\n',
  'count as text': report(1, count='2'),
  'index as text': report('1'),
  'index as a fraction': report(1.0),
  'index as truth': report(True),
  'index as a list': report([1]),
  'index below': report(-1),
  'index above': report(2),
  'index far above': report(10**30),
  'the first': report(0),
  'another job': report(1, job='yesterday'),
}


@pytest.mark.parametrize('sends', STRANGE.values(), ids=STRANGE)
def test_what_a_stranger_sends_changes_nothing(first, sends, capsys):
  """It is said once, however often it comes."""
  zero = first()
  for _ in range(3):
    zero.connect(sends)
    zero.connect(sends).close()
  time.sleep(0.05)
  zero.connect(report(1))
  assert zero.ends() == WELL
  assert capsys.readouterr().out.count('a stranger at 127.0.0.1') == 1


def test_megabytes_without_an_end_are_cut_off(first, monkeypatch, capsys):
  monkeypatch.setattr(peers, 'LINE', 2**16)
  zero = first()
  for _ in range(20):
    with pytest.raises(OSError):
      zero.connect().sendall(b'[' * 2**24)
  zero.connect(report(1))
  assert zero.ends() == WELL
  assert 'more than 65536 bytes' in capsys.readouterr().out


def test_those_who_never_speak_cost_no_time(first):
  """They are waited for together with the others, not one after the other."""
  start = time.monotonic()
  zero = first(count=3, timeout=10)
  for _ in range(200):
    zero.connect()
  zero.connect(report(1, count=3))
  zero.connect(report(2, count=3))
  assert zero.ends() == WELL | {2: 'there'}
  assert time.monotonic() - start < gathering.READ_TIMEOUT


def test_who_never_speaks_is_hung_up_on(first, monkeypatch, capsys):
  monkeypatch.setattr(gathering, 'READ_TIMEOUT', 0.3)
  zero = first(timeout=1.0)
  assert zero.connect().recv(1) == b''
  assert isinstance(zero.ends(), TimeoutError)
  assert 'says nothing for 0.3 seconds' in capsys.readouterr().out


def test_a_line_may_come_in_pieces(first):
  zero = first()
  connection, line = zero.connect(), report(1)
  for at in range(0, len(line), 20):
    connection.sendall(line[at : at + 20])
    time.sleep(0.02)
  assert zero.ends() == WELL and answer(connection)['hosts']['1'] == 'there'


def test_the_first_of_two_of_one_number_counts(first):
  """One process too many ends itself and nobody else."""
  zero = first(count=3)
  one = zero.connect(report(1, count=3, host='new'))
  time.sleep(0.2)
  other = zero.connect(report(1, count=3, host='old'))
  assert 'came twice, from new and from old' in answer(other)['twice']
  zero.connect(report(2, count=3))
  assert zero.ends() == {0: HOST, 1: 'new', 2: 'there'}
  assert answer(one)['hosts']['1'] == 'new'


def test_who_comes_again_takes_its_own_place(first):
  """Its first connection broke, seen by process 0 or not yet."""
  zero = first(count=3)
  for _ in range(2):
    zero.connect(report(1, count=3, instance='a'))
    time.sleep(0.2)
  zero.connect(report(1, count=3, instance='a')).close()
  time.sleep(0.2)
  zero.connect(report(2, count=3))
  time.sleep(0.2)
  zero.connect(report(1, count=3, instance='b'))
  assert zero.ends() == WELL | {2: 'there'}


def test_a_process_of_another_start_is_a_stranger(call):
  """As one that a killed launcher left behind."""
  answers = call(
    [
      (0, 2, FACTS, 'today'),
      (1, 2, FACTS | {'code': 'old'}, 'yesterday'),
      (1, 2, FACTS, 'today'),
    ],
    timeout=1.5,
  )
  assert answers.count(dict.fromkeys(range(2), HOST)) == 2
  (left,) = (text for text in answers if isinstance(text, str))
  assert 'does not answer' in left or 'all are here' in left


@pytest.mark.parametrize(
  'says',
  [
    b'',
    b'HTTP/1.1 400 Bad Request\r\n',
    b'[]\n',
    b'{"hosts": {"0": "a"}}\n',
    b'{"hosts": {"0": "a", "1": 7}}\n',
    b'{"error": 7}\n',
    b'{"job": "other", "error": "x"}\n',
    b'[' * 2**20,
  ],
)
def test_who_is_not_process_0_is_not_believed(says):
  """Something else may listen where it will be."""
  with socket.create_server(('127.0.0.1', 0)) as server:
    address = '{}:{}'.format(*server.getsockname())

    def serve():
      while True:
        try:
          with server.accept()[0] as connection:
            connection.recv(100)
            connection.sendall(says)
        except OSError:
          return

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(TimeoutError, match='process 0 at 127.0.0.1'):
      roll_call.roll_call(address, 2, 1, FACTS, timeout=0.7)
    server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_port_in_use_may_be_free_next_time(monkeypatch):
  monkeypatch.setattr(roll_call, '_BIND_TIMEOUT', 0.1)
  with socket.create_server(('127.0.0.1', 0)) as taken:
    address = '{}:{}'.format(*taken.getsockname())
    with pytest.raises(errors.Passing, match='cannot listen on port'):
      roll_call.roll_call(address, 2, 0, FACTS, timeout=5)


def test_a_port_that_becomes_free_is_taken():
  """What died a moment ago may still hold it."""
  taken = socket.create_server(('127.0.0.1', 0))
  address = taken.getsockname()
  threading.Timer(0.7, taken.close).start()
  with pytest.raises(TimeoutError, match='did not come: 1'):
    roll_call.roll_call('{}:{}'.format(*address), 2, 0, FACTS, timeout=2)
