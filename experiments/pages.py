"""The recipe on pages: receipts, forms, tables and charts, drawn in code.

  python -m visor_jax.main --config=experiments/pages.py --workdir=runs/pages
  ... --config=experiments/pages.py:control=True --workdir=runs/control
  ... --config=experiments/pages.py:scale=large --workdir=runs/large

With scale=large pages are 448 pixels high and hold 14 lines, for a GPU. The
control is a network without SELF layers, trained alone for the same steps. The
same test on what was never learned from: another workdir with jobs=eval+report,
--config.eval.checkpoint=runs/pages and --config.data.pages.unseen=typeface, or
kind.

Hardware and hours: not yet run to its end.
Expected: not known yet.
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(arg, jobs='all', scale='small', control=False)
  c = config.default()
  c.jobs = arg.jobs
  c.data.suite, c.data.pages.scale = 'pages', arg.scale
  c.model.size = {'small': 'pages', 'large': 'pages-448'}[arg.scale]
  c.model.remat = False  # the model is small
  # Text reads the image before the router chooses, and once more behind the
  # layers that it chooses among.
  c.model.cross_layers, c.model.self_layers = (1, 4), (2, 3)
  for stage, steps, rate, final in (
    ('base', 1500, 2e-3, 0.1),
    ('cross', 40, 2e-3, 0.5),
    ('full', 2400, 2e-3, 0.5),
    ('universal', 1400, 1e-3, 0.05),
  ):
    c[stage].steps, c[stage].batch = steps, 16
    c[stage].learning_rate = rate
    c[stage].end_lr_fraction = final
  c.policy.steps, c.policy.learning_rate = 300, 2e-3
  c.policy.end_lr_fraction = 0.05
  c.universal.max_share = 0.25  # min has most to learn
  # Steps with each primer, see PRIMERS of the suite: a line, then pages, then
  # their numbers, then all else.
  for stage, steps in (
    ('base', (360, 200, 200, 740, 0)),
    ('cross', (0, 0, 0, c.cross.steps, 0)),
    ('full', (0, 0, 0, 300, 500)),
  ):
    c.data.pages.primers[stage] = tuple(n * c[stage].batch for n in steps)
  c.label.examples = 8192
  c.label.score = c.eval.score = 'relaxed'  # as charts are graded
  if arg.control:
    for stage in ('cross', 'full', 'universal'):
      c[stage].plan = 'min'
    c.eval.plans = 'min'
    if arg.jobs == 'all':
      c.jobs = 'base+cross+full+universal+eval+report'
  return c
