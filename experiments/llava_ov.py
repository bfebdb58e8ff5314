"""VISOR on LLaVA-OneVision: sizes 0.5b, 1.5b and 7b, one stage at a time.

  python -m visor_jax.convert import --src HF_FOLDER --out CKPT
  python -m visor_jax.data.prepare --src train.json --images IMAGES --out SHARDS
  python -m visor_jax.main --workdir=WORKDIR \
      --config=experiments/llava_ov.py:size=0.5b,jobs=cross \
      --config.model.init_from=CKPT \
      --config.data.sources="(('train', 'SHARDS', 1.0),)" \
      --config.eval.sources="(('test', 'OTHER_SHARDS', 1.0),)"

Stages may have sources of their own (config.cross.sources). size=tiny goes
through all of it in a few steps, for a checkpoint as small as it likes.

Hardware and hours: not yet run on published weights. Steps and rates are the
paper's, where it gives them: batch 128, 4 M samples for cross, 3.2 M for full;
learning rate 1e-5, 2e-6 for the vision tower. A row of the batch here holds as
many conversations as fit, two to ten.
Expected, LLaVA-OneVision 0.5B: 8.6x fewer LLM FLOPs, 63.6 on the easy and 58.4
on the hard benchmarks (base: 61.5 and 57.1).
"""

from visor_jax import config

SIZES = ('0.5b', '1.5b', '7b', 'tiny')


def get_config(arg=None):
  arg = config.parse_arg(arg, size=SIZES, jobs='all')
  c = config.published(arg.jobs)
  if arg.size == '7b':
    c.mesh.data, c.mesh.fsdp = 1, -1  # no chip holds all of it
  if arg.size == 'tiny':
    config.shorten(c)
    c.data.packed.update(text=384, visual=384, tiles=48, prompts=16)
    c.data.prompt.update(text=128, visual=128, tiles=37)
  else:
    c.model.size = arg.size  # a checkpoint of another size is refused
    c.model.dtype = 'bfloat16'
  return c
