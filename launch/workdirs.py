"""Where a run writes, read off the flags that a launcher passes on."""

from collections.abc import Sequence
import posixpath

BUCKETS = ('gs://', 's3://')  # that visor_jax writes to


def of(flags: Sequence[str]) -> str:
  """The value of --workdir; '' where it is not given."""
  path = ''
  for flag, behind in zip(flags, [*flags[1:], '']):
    name, is_, value = flag.lstrip('-').partition('=')
    if flag.startswith('-') and name == 'workdir':
      path = value if is_ else behind
  return path


def address_fault(path: str) -> str:
  """Why a workdir can be nowhere; '' if it is a folder, or in a bucket."""
  if '://' not in path or path.startswith(BUCKETS):
    return ''
  known = ' nor '.join(BUCKETS)
  return f'--workdir={path} is neither a folder nor {known}; mount it'


def fault(path: str, mount: str) -> str:
  """Why hosts do not share a workdir; '' if they do.

  Args:
    path: the workdir.
    mount: the folder that they share, absolute; '' for none.
  """
  if not path:
    return '--workdir is missing; give --config=FILE --workdir=DIR after --'
  if '://' in path:
    return address_fault(path)
  if not mount:
    return (
      f'--workdir={path} is on a disk, and hosts share none; give --claim, or '
      f'a workdir in {" or ".join(BUCKETS)}'
    )
  folder = posixpath.normpath(path)
  if folder != mount and not folder.startswith(f'{mount}/'):
    return (
      f'--workdir={path} is not in {mount}, which is all that the hosts share; '
      f'give --workdir={mount}/DIR'
    )
  return ''
