"""The recipe on pages: receipts, forms, tables and charts, drawn in code.

  python -m visor_jax.main --config=experiments/pages.py --workdir=runs/pages
  ... --config=experiments/pages.py:run=dense --workdir=runs/dense
  ... --config=experiments/pages.py:run=control --workdir=runs/control
  ... --config=experiments/pages.py:scale=large --workdir=runs/large

The dense base gets all steps of answers in one stage, and answers with every
method that makes it cheaper without training, too; the control is a network
without SELF layers, trained alone for the same steps. With scale=large pages
are 448 pixels high and hold 14 lines, for a GPU; share=2 takes twice the steps.
VISOR and the dense base in one page:

  launch/rivals.py --experiment=pages --runs=visor,dense --workdir=runs/rivals

The same test on what was never learned from: another workdir with
jobs=eval+report, --config.eval.checkpoint=runs/pages and
--config.data.pages.unseen=typeface, or kind.

Hardware and hours: 43 minutes of one CPU core (AMD EPYC); 2.6 GB.
Expected: fine 85 % with max and 63 with min; the router keeps 99 % of max at
38 % of its LLM FLOPs, 61 % end to end. See docs/pages.md.
"""

from visor_jax import config

STAGES = (
  ('base', 3500, 4e-3, 0.3),
  ('cross', 40, 2e-3, 0.5),
  ('full', 3000, 3e-3, 0.5),
  ('universal', 1500, 2e-3, 0.05),
)
# Steps with each of PRIMERS of the suite, at the start of a stage: a line, of
# which less and less is shown, two, four, pages, transcribed; then asked for
# numbers, and what is made of them. Then all else.
PRIMERS = dict(
  base=(200, 250, 250, 350, 100, 100, 150, 300, 300, 500, 0, 200),
  cross=(40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  # Text reads by other layers now: much of the way is gone once more.
  full=(60, 0, 0, 0, 40, 60, 140, 200, 300, 250, 600, 100),
  universal=(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 0),
)
# With what the dense base answers, too, without training.
SHARES = ('1/2', '1/4')
FREE = (
  [
    f'{method}:{share}'
    for method in ('visionzip', 'vispruner', 'divprune', 'cdpruner', 'random')
    for share in SHARES
  ]
  + [f'fastv:2:{share}' for share in SHARES]
  + [f'sparsevlm:0,1,3:{share},{share},{share}' for share in SHARES]
  + ['pyramiddrop:0.5', 'shortv:0.7', 'shortv:0.5', 'dop:0.7', 'vskip:0.85']
)
# Pixels to the side of a page: three quarters and a half.
SMALLER = {'small': (96, 64), 'large': (320, 224)}
RUNS = ('visor', 'dense', 'control')
SIZES = {'small': 'pages', 'large': 'pages-448'}  # by scale


def get_config(arg=None):
  arg = config.parse_arg(
    arg, jobs='all', run=RUNS, scale=tuple(SIZES), share=1.0
  )
  part = lambda steps: max(1, round(arg.share * steps))
  c = config.default()
  c.data.suite, c.data.pages.scale = 'pages', arg.scale
  c.model.size = SIZES[arg.scale]
  c.optim.name = 'muon'
  c.model.remat = False  # the model is small
  # Text reads the image before the router chooses, and once more behind the
  # layers that it chooses among.
  c.model.cross_layers, c.model.self_layers = (1, 4), (2, 3)
  for stage, steps, rate, final in STAGES:
    c[stage].steps, c[stage].batch = part(steps), 16
    c[stage].learning_rate, c[stage].end_lr_fraction = rate, final
  primers = PRIMERS
  c.universal.max_share = 0.25  # min has most to learn
  c.policy.steps, c.policy.learning_rate = 2000, 2e-3
  c.policy.end_lr_fraction = 0.05
  c.label.examples = 8192
  c.label.score = c.eval.score = 'relaxed'  # as charts are graded
  c.eval.plans = 'all+router'  # its base was only taught to read
  if arg.run == 'dense':
    c.jobs, c.eval.plans = 'base+eval+report', 'base'
    smaller = [f'resize:{side}' for side in SMALLER[arg.scale]]
    c.eval.reduce = '+'.join(FREE + smaller)
    c.base.steps = part(sum(steps for _, steps, *_ in STAGES))
    c.base.end_lr_fraction = 0.05
    primers = dict(base=list(map(sum, zip(*PRIMERS.values()))))
  if arg.run == 'control':
    c.jobs, c.eval.plans = 'base+cross+full+universal+eval+report', 'min'
    for stage in ('cross', 'full', 'universal'):
      c[stage].plan = 'min'
  for stage, steps in primers.items():
    c.data.pages.primers[stage] = tuple(
      part(n) * c[stage].batch if n else 0 for n in steps
    )
  if arg.jobs != 'all':
    c.jobs = arg.jobs
  return c
