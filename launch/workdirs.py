"""Where a run writes, read off the flags that a launcher passes on."""

from collections.abc import Sequence
import posixpath

MOUNTS = (
  'mount the bucket and name its folder (gcsfuse, mountpoint-s3), or give a '
  'shared disk'
)


def of(flags: Sequence[str]) -> str:
  """The value of --workdir; '' where it is not given."""
  path = ''
  for flag, behind in zip(flags, [*flags[1:], '']):
    name, is_, value = flag.lstrip('-').partition('=')
    if flag.startswith('-') and name == 'workdir':
      path = value if is_ else behind
  return path


def fault(path: str, mount: str) -> str:
  """Why hosts that share a folder do not share a workdir; '' if they do.

  Args:
    path: the workdir.
    mount: the folder, absolute.
  """
  if not path:
    return '--workdir is missing; give --config=FILE --workdir=DIR after --'
  if '://' in path:
    return f'--workdir={path} is no folder; {MOUNTS}'
  folder = posixpath.normpath(path)
  if folder != mount and not folder.startswith(f'{mount}/'):
    return (
      f'--workdir={path} is not in {mount}, which is all that the hosts share; '
      f'give --workdir={mount}/DIR'
    )
  return ''
