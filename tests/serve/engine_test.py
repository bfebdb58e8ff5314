"""Who waits, and who is told to come again."""

import types

import pytest

from visor_jax.serve import chat
from visor_jax.serve import engine as engine_lib
from visor_jax.serve import limits as limits_lib
from visor_jax.serve import meters as meters_lib


def ticket(events):
  return engine_lib.Ticket(chat.Asked((), '?', {}), events.append)


def engine(**limits):
  model, meters = types.SimpleNamespace(asked=None), meters_lib.Meters()
  limits = limits_lib.Limits(**limits)
  return engine_lib.Engine(model, limits, meters), meters


def test_too_many_are_told_to_come_again():
  waiting, meters = engine(waiting=2)
  for _ in range(2):
    waiting.submit(ticket([]))
  with pytest.raises(limits_lib.Refusal, match='2 requests wait') as e:
    waiting.submit(ticket([]))
  assert e.value.status == 429
  assert b'visor_waiting 2.0' in meters.page()


def test_who_waited_too_long_or_went_is_not_answered():
  waiting, meters = engine(wait_seconds=-1)
  late, gone = [], []
  waiting.submit(ticket(late))
  left = ticket(gone)
  left.cancel()
  waiting.submit(left)
  waiting.start()
  waiting.stop()
  (refusal,) = late
  assert refusal.status == 503 and gone == []
  assert b'visor_waiting 0.0' in meters.page()
  with pytest.raises(limits_lib.Refusal, match='is stopping'):
    waiting.submit(ticket([]))
