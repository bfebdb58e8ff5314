"""VISOR on Qwen2-VL, sizes 2b and 7b, or Qwen2.5-VL, 2.5-3b and 2.5-7b.

One stage at a time.

  python -m visor_jax.convert import --src HF_FOLDER --out CKPT
  python -m visor_jax.data.prepare --src train.json --images IMAGES --out SHARDS
  python -m visor_jax.main --workdir=WORKDIR \
      --config=experiments/qwen2_vl.py:size=2b,jobs=cross \
      --config.model.init_from=CKPT \
      --config.data.sources="(('train', 'SHARDS', 1.0),)" \
      --config.eval.sources="(('test', 'OTHER_SHARDS', 1.0),)"

size=tiny goes through all of it in a few steps, for a checkpoint as small as it
likes.

An image has as many tokens as the checkpoint's preprocessor_config.json lets
it: 16,384 at most as published. Tokens are tiles here; a question of an image
that large does not fit the slots below and is left out, counted. A smaller
max_pixels in that file, say 1003520 for 1280 tokens, keeps it.

Hardware and hours: not yet run on published weights. Steps and rates are those
of `config.published`.
Expected: of the language model's FLOPs 7x to save with 2b for an image of
480x640 and 60 tokens of text, end to end at most 1.40x, because its tower takes
more than that; 1.17x for a page of 2200x1700, with 7b 1.78x, and 3.00x with
2.5-7b, whose tower has windows. See `python -m visor_jax.flops`.
"""

from visor_jax import config

SIZES = {
  '2b': 'qwen2-vl-2b',
  '7b': 'qwen2-vl-7b',
  '2.5-3b': 'qwen2.5-vl-3b',
  '2.5-7b': 'qwen2.5-vl-7b',
}


def get_config(arg=None):
  arg = config.parse_arg(arg, size=(*SIZES, 'tiny'), jobs='all')
  c = config.published(arg.jobs)
  c.data.packed.update(text=4096, visual=8192, tiles=8192, prompts=64)
  c.data.prompt.update(text=1024, visual=4096, tiles=4096)
  if arg.size.endswith('7b'):
    c.mesh.data, c.mesh.fsdp = 1, -1  # no chip holds all of it
  if arg.size == 'tiny':
    config.shorten(c)
    c.data.packed.update(text=384, visual=160, tiles=160, prompts=16)
    c.data.prompt.update(text=128, visual=80, tiles=80)
  else:
    c.model.size = SIZES[arg.size]  # another checkpoint is refused
    c.model.dtype = 'bfloat16'
  return c
