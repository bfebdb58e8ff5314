"""The analyses that the page can show, in its order."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
from typing import Any

from visor_jax.report import colours
from visor_jax.report.analyses import attention
from visor_jax.report.analyses import cka
from visor_jax.report.analyses import drop
from visor_jax.report.analyses import length
from visor_jax.report.analyses import section as section_lib
from visor_jax.report.analyses import unseen

SECTIONS: Mapping[
  str, Callable[[section_lib.Numbers, colours.Palette], section_lib.Section]
] = {
  'attention': attention.section,
  'cka': cka.section,
  'drop': drop.section,
  'unseen': unseen.section,
  'length': length.section,
}


def sections(
  analyses: Mapping[str, Mapping[str, Any]], palette: colours.Palette
) -> Iterator[section_lib.Section]:
  """Yields a Section for each analysis that there is.

  Args:
    analyses: {name: what its file holds}, see read.Contents.
    palette: colours of the plans.
  """
  for name, make_section in SECTIONS.items():
    if name not in analyses:
      continue
    section = make_section(analyses[name]['numbers'], palette)
    options = analyses[name]['options']
    if 'examples' in options:
      section = dataclasses.replace(
        section,
        caption=(
          f'{section.caption} From {options["examples"]:,} test questions.'
        ),
      )
    yield section
