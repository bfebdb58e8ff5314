"""VISOR on FastVLM: sizes 0.5b, 1.5b and 7b, one stage at a time.

  python -m visor_jax.convert import --src HF_FOLDER --out CKPT
  python -m visor_jax.data.prepare --src train.json --images IMAGES --out SHARDS
  python -m visor_jax.main --workdir=WORKDIR \
      --config=experiments/fastvlm.py:size=0.5b,jobs=cross \
      --config.model.init_from=CKPT \
      --config.data.sources="(('train', 'SHARDS', 1.0),)" \
      --config.eval.sources="(('test', 'OTHER_SHARDS', 1.0),)"

HF_FOLDER is Apple's or a converted one. size=tiny goes through all of it in a
few steps, for a checkpoint as small as it likes.

Hardware and hours: not yet run on published weights. Steps and rates are those
of `config.published`.
Expected: of the language model's FLOPs 5x to save with 0.5b at 60 tokens of
text, end to end at most 1.35x, 2.0x with 1.5b and 3.5x with 7b, because every
image goes through the tower; see `python -m visor_jax.flops`.
"""

from visor_jax import config

SIZES = ('0.5b', '1.5b', '7b', 'tiny')


def get_config(arg=None):
  arg = config.parse_arg(arg, size=SIZES, jobs='all')
  c = config.published(arg.jobs)
  # An image is 256 tokens of one tile, whatever its size.
  c.data.packed.update(text=4096, visual=4096, tiles=16, prompts=64)
  c.data.prompt.update(text=1024, visual=2048, tiles=8)
  if arg.size == '7b':
    c.mesh.data, c.mesh.fsdp = 1, -1  # no chip holds all of it
  if arg.size == 'tiny':
    config.shorten(c)
    c.data.packed.update(text=384, visual=32, tiles=8, prompts=16)
    c.data.prompt.update(text=128, visual=32, tiles=8)
  else:
    c.model.size = f'fastvlm-{arg.size}'  # another checkpoint is refused
    c.model.dtype = 'bfloat16'
  return c
