"""Typefaces that are there wherever the package is: matplotlib's and Pillow's.

Found without importing matplotlib, which is for the report.
"""

import functools
from importlib import util
import pathlib

import PIL.ImageFont

PILLOWS = ''  # stands for the file of Pillow's own, which has none

FILES = {
  'sans': 'DejaVuSans.ttf',
  'serif': 'DejaVuSerif.ttf',
  'mono': 'DejaVuSansMono.ttf',
  'bold': 'DejaVuSans-Bold.ttf',
  'aileron': PILLOWS,
  'stix': 'STIXGeneral.ttf',
}
HELD_OUT = 'stix'  # no page that is learned from is set in it
TRAINED = tuple(name for name in FILES if name != HELD_OUT)


def folder() -> pathlib.Path:
  """Where matplotlib keeps typefaces.

  Raises:
    FileNotFoundError: it is not installed.
  """
  spec = util.find_spec('matplotlib')
  if spec is None or not spec.submodule_search_locations:
    raise FileNotFoundError(
      'pages are set in the typefaces of matplotlib, which is not installed: '
      'pip install matplotlib'
    )
  return pathlib.Path(spec.submodule_search_locations[0]).joinpath(
    'mpl-data', 'fonts', 'ttf'
  )


@functools.cache
def font(name: str, size: int) -> PIL.ImageFont.FreeTypeFont:
  """A typeface, a key of FILES, at a size in pixels."""
  if FILES[name] == PILLOWS:
    default = PIL.ImageFont.load_default(size)
    assert isinstance(default, PIL.ImageFont.FreeTypeFont)
    return default
  return PIL.ImageFont.truetype(folder() / FILES[name], size)
