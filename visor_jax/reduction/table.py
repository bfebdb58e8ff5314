"""The methods of token reduction, by name: a new one is a line here.

visionzip:0.25     before the decoder a quarter of the visual tokens is kept:
                   those that attention looks at, and averages of the rest
vispruner:1/9      those that attention looks at, and different ones
divprune:1/9       those that differ most from one another
cdpruner:1/9       different ones that are like the words of the question
hired:0.2          half of them of the thumbnail, the others of the tiles that
                   its attention looks at
random:1/9         those that chance picks: what all others should beat
resize:768         before the tower an image is made smaller, to so many pixels
                   on its longer side
pixelprune         before the tower tiles go that equal a neighbour
pack:2             two neighbours become one token, their average
m3:4               4 x 4 patches become one token, their average
fastv:2:0.5        from layer 2 on, half of them: what the prompt looks at
pyramiddrop:0.5    the same at a quarter, half and three quarters of the
                   depth: half of what is left each time
sparsevlm:2,6,15:0.5,0.6,0.5
                   behind these layers such shares, of what is left: what the
                   words that are like the image look at, and averages of the
                   rest
eemllm             visual tokens never attend; they go through every MLP
shortv:2,5-7       in these layers visual tokens stay as they are
vskip:2,5-7        in these they do not attend, and go through the MLP alone
dop:4:6            from layer 4 on they do not attend, from 6 on no MLP

The last three may name a share instead: see grammar.py.
"""

from visor_jax.reduction import cdpruner
from visor_jax.reduction import divprune
from visor_jax.reduction import dop
from visor_jax.reduction import eemllm
from visor_jax.reduction import fastv
from visor_jax.reduction import hired
from visor_jax.reduction import m3
from visor_jax.reduction import method
from visor_jax.reduction import pack
from visor_jax.reduction import pixelprune
from visor_jax.reduction import pyramiddrop
from visor_jax.reduction import random_places
from visor_jax.reduction import resize
from visor_jax.reduction import shortv
from visor_jax.reduction import sparsevlm
from visor_jax.reduction import visionzip
from visor_jax.reduction import vispruner
from visor_jax.reduction import vskip

METHODS: dict[str, type[method.Reduction]] = {
  'visionzip': visionzip.VisionZip,
  'vispruner': vispruner.VisPruner,
  'divprune': divprune.DivPrune,
  'cdpruner': cdpruner.CDPruner,
  'hired': hired.HiRED,
  'random': random_places.Random,
  'resize': resize.Resize,
  'pixelprune': pixelprune.PixelPrune,
  'pack': pack.Pack,
  'm3': m3.M3,
  'fastv': fastv.FastV,
  'pyramiddrop': pyramiddrop.PyramidDrop,
  'sparsevlm': sparsevlm.SparseVLM,
  'eemllm': eemllm.EEMLLM,
  'shortv': shortv.ShortV,
  'vskip': vskip.VSkip,
  'dop': dop.DOP,
}
