"""VISOR on a base of real weights, 157 M parameters, on pages of 448 pixels.

  pip install -e '.[real]'
  python -m visor_jax.convert real --out CKPT
  python -m visor_jax.main --config=experiments/real.py --workdir=runs/real \
      --config.model.init_from=CKPT
  python -m visor_jax.ask --checkpoint runs/real --image page.png \
      --prompt "What number stands behind milk?"

The connector learns first, tower and decoder have; then VISOR's stages, on
questions in English about pages that are drawn. size=probe takes a few steps of
each, one page a step, for two CPU cores. A test that a glance answers, which
others published, after `pip install easy-vqa`: another workdir, with
jobs=eval+report, --config.eval.checkpoint=runs/real,
--config.eval.coarse="('easy-vqa',)" and
--config.eval.sources="(('easy-vqa', 'easy-vqa:test', 1.0),)".

Hardware and hours: not yet run in full. Of size=probe the stages connector,
cross and full: 21 min on two CPU cores (AMD EPYC) that a dozen other programs
worked on as well; 8 GB.
Expected there, from the first two steps of a stage to its last two: a loss per
token of 6.8 to 4.3 for connector, 5.3 to 3.4 for cross, 3.7 to 2.2 for full.
"""

from visor_jax import config

# Steps and learning rate of each stage, by size.
STAGES = {
  'full': dict(
    connector=(1000, 1e-3),
    cross=(1000, 1e-3),
    full=(4000, 1e-4),
    universal=(3000, 5e-5),
    policy=(500, 1e-3),
  ),
  'probe': dict(
    connector=(20, 1e-3),
    cross=(12, 1e-3),
    full=(12, 1e-4),
    universal=(4, 5e-5),
    policy=(4, 1e-3),
  ),
}


def get_config(arg=None):
  arg = config.parse_arg(arg, size=tuple(STAGES), jobs='all')
  c = config.published(arg.jobs)
  if arg.size == 'probe':
    config.shorten(c)
    scale, tiles, visual, rows, pages = 'small', 2, 528, 1, 1
    c.search.budget = 4
  else:
    scale, tiles, visual, rows, pages = 'large', 5, 1312, 16, 4
    c.model.dtype = 'bfloat16'
  for stage, (steps, rate) in STAGES[arg.size].items():
    c[stage].steps, c[stage].learning_rate, c[stage].batch = steps, rate, rows
  c.data.sources = (('pages', f'pages:{scale}/train', 1.0),)
  c.eval.sources = (
    ('coarse', f'pages:{scale}/test/coarse', 1.0),
    ('fine', f'pages:{scale}/test/fine', 1.0),
  )
  c.eval.coarse = ('coarse',)
  # A page is a tile with all of it, then tiles of its parts with newlines.
  c.data.packed.update(
    text=256 * pages, visual=visual * pages, tiles=tiles * pages, prompts=16
  )
  c.data.prompt.update(text=128, visual=visual, tiles=tiles)
  c.label.score = c.eval.score = 'relaxed'  # as charts are graded
  c.eval.max_new_tokens = 16
  return c
