"""Who does not come, or differs, is named to all."""

import socket
import threading
import time

import pytest

from visor_jax.runtime import roll_call

FACTS = {'code': 'abc', 'config.rows': [1, 2]}


@pytest.fixture
def call():
  """Processes as threads: {index: (count, facts)} -> {index: result}."""

  def run(processes, timeout=20.0, before=None):
    with socket.create_server(('127.0.0.1', 0)) as free:
      address = f'127.0.0.1:{free.getsockname()[1]}'
    answers = {}

    def process(number, index, count, facts):
      try:
        answers[number] = roll_call.roll_call(
          address, count, index, facts, timeout
        )
      except (TimeoutError, ValueError) as e:
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
  assert 'process 1 of 2 on' in text and 'process 0 does not answer' in text


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
  answers = call([(0, 3, FACTS), (1, 3, FACTS), (1, 3, FACTS)])
  assert any('process 1 came twice' in text for text in answers)
