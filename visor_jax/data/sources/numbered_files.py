"""Files that belong together, by the numbers in their names."""

from collections.abc import Iterable
import pathlib
import re

_NUMBERED = re.compile(r'(.*)-(\d+)-of-(\d+)')


def check(files: Iterable[pathlib.Path]) -> None:
  """Whether all are there of those whose names say how many there are.

  Args:
    files: some like train-00000-of-00006.parquet; others say nothing.

  Raises:
    ValueError: one is missing, as where a download was cut off.
  """
  numbers: dict[tuple[pathlib.Path, str, str], set[int]] = {}
  for file in files:
    if match := _NUMBERED.match(file.name):
      name, number, total = match.groups()
      numbers.setdefault((file.parent, name, total), set()).add(int(number))
  for (folder, name, total), there in numbers.items():
    missing = sorted(set(range(int(total))) - there)
    if missing:
      raise ValueError(
        f'{folder} has {len(there)} of the {int(total)} files '
        f'{name}-*-of-{total}; missing: {", ".join(map(str, missing[:9]))}'
        + (', ...' if missing[9:] else '')
      )
