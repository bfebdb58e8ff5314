"""How to compute: unknown names are refused with those there are."""

import pytest

from visor_jax.models import compute as compute_lib


@pytest.mark.parametrize(
  'fields,words',
  [
    (dict(attention='dense'), 'model.attention is "dense".*chunked'),
    (dict(remat_policy='all'), 'model.remat_policy is "all".*dots'),
  ],
)
def test_unknown_names_are_refused(fields, words):
  """A misspelt policy would be another program, without a word."""
  with pytest.raises(ValueError, match=words):
    compute_lib.Compute(**fields)
