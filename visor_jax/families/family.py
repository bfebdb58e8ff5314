"""What the house asks of a backbone; the folder of each family answers.

What needs libraries is a function, which imports them when it is called: costs
and reports read this where there is no jax.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import TYPE_CHECKING
from typing import Any
from typing import NoReturn
from typing import Protocol

from visor_jax.spec import sizes as sizes_lib

if TYPE_CHECKING:
  from visor_jax.convert import tensors
  from visor_jax.data import protocols
  from visor_jax.models import backbone


@dataclasses.dataclass(frozen=True)
class HfConfig:
  """What the config.json of a checkpoint says.

  Attributes:
    size: with the vocabulary of the config, tied where the config says so.
    tower_layers: of the checkpoint's vision tower; the size has those that run.
    context: tokens that a prompt and its answer may have.
    config: as transformers has it, also where the file is of another kind.
  """

  size: sizes_lib.Size
  tower_layers: int
  context: int
  config: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TorchSources:
  """VISOR on transformers' class of a family, for where there is no jax.

  Attributes:
    folder: of configuration_visor.py and modeling_visor.py, and what they need.
    processor: transformers' class of its processor.
  """

  folder: pathlib.Path
  processor: str


class ImagePlan(Protocol):
  """How an image of one size becomes visual tokens.

  Attributes:
    tiles: how many it is cut to.
    tokens: visual tokens, V.
  """

  @property
  def tiles(self) -> int: ...

  @property
  def tokens(self) -> int: ...


def _unreadable(*args: object) -> NoReturn:
  raise ValueError(
    'checkpoints of this family cannot be read or written: its record has no '
    'functions for that, see families/family.py'
  )


def _as_it_is(vision: sizes_lib.Vision, side: int) -> sizes_lib.Vision:
  """Of a tower whose tiles have one size, whatever that of images."""
  del side
  return vision


@dataclasses.dataclass(frozen=True)
class Family:
  """A kind of base model.

  What has a default is of its published checkpoints; without, models of the
  family start fresh and learn from a suite that needs no tokenizer.

  Attributes:
    name: key of the table, and `family` of an Architecture.
    sizes: those that have a name, for config.model.size.
    modules: tower and connector as linen modules.
    tower_macs: (vision tower, whether making patches of pixels counts, tiles)
      -> multiply-adds of the tower on the tiles of one image.
    connector_macs: multiply-adds of the connector on the patches of one tile.
    resized: (vision tower, pixels that the longer side of an image has at most)
      -> the tower with its tiles of such images.
    taps: patches that are summed into a visual token, at most.
    model_types: values of `model_type` or of `architectures` in config.json
      that say that a checkpoint is of it.
    plan_image: (height, width in pixels, vision tower) -> how visual tokens
      are made of an image.
    read_processor: (folder of a checkpoint, what lies behind transparent
      images, see image_files.GROUNDS, rows of the embedding or None) -> its
      tokenizer, chat template and recipe of images.
    read_config: reads config.json of a checkpoint's folder.
    with_vocabulary: (config.json as transformers has it, words) -> the same
      with so many words.
    of_parts: (configs of decoder and tower, word and id of an image and of a
      video) -> {file: what it says} of a checkpoint that is put together.
    tensors: the names of tensors, and the parameters that they are.
    torch: what runs VISOR on transformers' class of it; None where nothing
      does.
  """

  name: str
  sizes: Mapping[str, sizes_lib.Size]
  modules: Callable[[], 'backbone.Modules']
  tower_macs: Callable[[sizes_lib.Vision, bool, int], int]
  connector_macs: Callable[[sizes_lib.Size], int]
  resized: Callable[[sizes_lib.Vision, int], sizes_lib.Vision] = _as_it_is
  taps: int = 1
  model_types: tuple[str, ...] = ()
  plan_image: Callable[[int, int, sizes_lib.Vision], ImagePlan] = _unreadable
  read_processor: Callable[
    [pathlib.Path, str, int | None], 'protocols.Processor'
  ] = _unreadable
  read_config: Callable[[pathlib.Path], HfConfig] = _unreadable
  with_vocabulary: Callable[[dict[str, Any], int], dict[str, Any]] = _unreadable
  of_parts: Callable[..., dict[str, dict[str, Any]]] = _unreadable
  tensors: Callable[[], 'tensors.Table'] = _unreadable
  torch: TorchSources | None = None
