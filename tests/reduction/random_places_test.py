"""Tokens that stay by chance."""

from tests.reduction import one_row


def test_a_share_stays_by_its_places_alone():
  """Other images, and other images in the row, change nothing."""
  alone = one_row.reduce('random:1/3', [1] * 12, range(12))[1]
  assert len(alone) == 4 and alone != list(range(4))
  assert (
    alone
    == one_row.reduce('random:1/3', [1] * 12, range(12), visual=[[9.0]] * 12)[1]
  )
  # Another image before it, with text between them.
  places = [*range(6), *range(7, 19)]
  both = one_row.reduce('random:1/3', [1] * 18, places)[1]
  assert [at - 6 for at in both if at >= 6] == alone
  assert sum(at < 6 for at in both) == 2


def test_more_tokens_are_another_draw():
  few, many = (
    one_row.reduce('random:1/2', [1] * n, range(n))[1] for n in (20, 40)
  )
  assert (len(few), len(many)) == (10, 20)
  assert {at for at in many if at < 20} != set(few)
