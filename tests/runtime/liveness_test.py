"""A process that is silent is named, by host and number."""

import threading
import time

import pytest

from visor_jax.runtime import liveness

HOSTS = {0: 'first', 1: 'second', 2: 'third'}


class Service:
  """Holds what processes tell each other; may stop to answer."""

  def __init__(self):
    self.values = {}
    self.answers = threading.Event()
    self.answers.set()

  def key_value_set(self, key, value, allow_overwrite=False):
    self.answers.wait()
    assert allow_overwrite
    self.values[key] = value

  def key_value_dir_get(self, folder):
    return [(k, v) for k, v in self.values.items() if k.startswith(folder)]


@pytest.fixture
def watch():
  """Starts the watch of a process."""
  started = []

  def start(service, index):
    started.append(liveness.Watch(service, index, HOSTS, 0.05, silent=0.5))
    return started[-1]

  yield start
  for one in started:
    one.close()


def printed(capsys, words, seconds=5):
  """What was printed until these words came."""
  text, until = '', time.monotonic() + seconds
  while words not in text and time.monotonic() < until:
    time.sleep(0.02)
    text += capsys.readouterr().err
  assert words in text
  return text


def test_who_is_silent_is_named_once(watch, capsys):
  service = Service()
  watch(service, 0)
  watch(service, 1)
  text = printed(capsys, 'process 2 on third has not been heard of for')
  time.sleep(0.3)
  text += capsys.readouterr().err
  assert text.count('\n') == 1
  third = watch(service, 2)
  printed(capsys, 'process 2 on third is heard of again')
  third.close()
  printed(capsys, 'process 2 on third has not been heard of for')


def test_a_first_process_that_is_silent_is_named_by_the_others(watch, capsys):
  service = Service()
  watch(service, 1)
  service.answers.clear()
  printed(capsys, 'process 0 on first has not been heard of for')
  service.answers.set()
  printed(capsys, 'process 0 on first is heard of again')


def test_a_service_that_is_gone_ends_the_watch(watch, capsys):
  """Jax says what it is."""

  def gone(*_):
    raise RuntimeError('UNAVAILABLE')

  service = Service()
  service.key_value_set = service.key_value_dir_get = gone
  watch(service, 0)
  time.sleep(0.7)
  assert capsys.readouterr().err == ''
