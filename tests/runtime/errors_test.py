"""What is refused, and what may go better next time."""

import errno

import pytest

from visor_jax.runtime import errors


def raises(error, cause=None):
  with pytest.raises(type(error)) as caught, errors.refusals():
    try:
      if cause:
        raise cause
    except OSError as e:
      raise error from e
    raise error
  return caught.value


def test_a_check_refuses_in_the_words_of_its_error():
  assert str(raises(errors.Refusal('no such key'))) == 'no such key'
  with pytest.raises(errors.Refusal, match='7 is too much'):
    with errors.refusals():
      raise ValueError('7 is too much')


@pytest.mark.parametrize('number', [errno.EIO, errno.ENOSPC, errno.ESTALE])
def test_a_disk_behind_an_error_makes_it_no_refusal(number):
  error = raises(ValueError('bad data'), OSError(number, 'disk'))
  assert not isinstance(error, errors.Refusal)


def test_a_path_that_is_not_there_is_refused():
  with pytest.raises(errors.Refusal):
    with errors.refusals():
      try:
        open('/no/such/file')
      except OSError as e:
        raise ValueError('no data in /no/such/file') from e


@pytest.mark.parametrize(
  'error',
  [OSError(errno.EIO, 'disk'), RuntimeError('library'), TimeoutError('slow')],
)
def test_other_errors_stay_what_they_are(error):
  assert raises(error) is error
