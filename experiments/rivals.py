"""The built-in suite with token reduction: VISOR and its rivals, like for like.

  launch/rivals.py --workdir=runs/rivals

runs this file three times (--runs=... says otherwise) and joins the results in
one page; or one at a time:

  python -m visor_jax.main --config=experiments/rivals.py:run=visor --workdir=W
  ... run=dense   the dense base, taught everything, answers with every method
                  that needs no training, at several settings
  ... run=m3      the dense base for half of the steps, then with pooled
                  tokens, all scales every step
  ... run=tr2     VISOR on tokens packed 2x, run=tr4 4x
  ... run=eemllm  the dense base, whose visual tokens never attend

The recipe is that of quickstart.py. Every run takes its 4,380 steps of answers
(VISOR's base, cross, full and universal stages together); a dense run takes
them in one stage, with the same ladder. share=0.5 takes half of all steps.
Hardware and hours: the first three 41 minutes of a CPU core.
Expected, seed 0, on the fine group: VISOR 92 % at 4.35 MFLOPs and at 2.58; the
dense base 94 % at 10.3, 70 % with FastV as published, 60 % with PyramidDrop and
with 2 x 2 pooling. See docs/rivals.md.
"""

from visor_jax import config

SHARES = ('3/4', '1/2', '1/3', '2/9', '1/9')  # the last three are published
METHODS = ('visionzip', 'vispruner', 'divprune', 'cdpruner', 'random')
FREE = (
  [f'{m}:{s}' for m in METHODS for s in SHARES]
  + [f'fastv:2:{s}' for s in ('0.75', '0.5', '0.25', '1/9')]
  + [f'pyramiddrop:{s}' for s in ('0.75', '0.5', '0.25')]
  + [f'sparsevlm:0,1,3:{s},{s},{s}' for s in ('0.75', '1/2', '1/3')]
  + [f'{m}:{s}' for m in ('shortv', 'dop') for s in ('0.8', '0.6', '0.4')]
  + [f'vskip:{s}' for s in ('0.95', '0.9', '0.85')]  # most goes into MLPs
  + ['resize:40']  # of 80 pixels: both frames, four digits to a patch
)
SCALES = 'm3:1+m3:2+m3:5'  # a frame has 5 x 2 patches
RUNS = ('visor', 'dense', 'm3', 'eemllm', 'tr2', 'tr4')


def get_config(arg=None):
  arg = config.parse_arg(arg, run=RUNS, jobs='all', share=1.0)
  build = _dense if arg.run in ('dense', 'm3', 'eemllm') else _visor
  c = build(arg.run, arg.share)
  if arg.jobs != 'all':
    c.jobs = arg.jobs
  return c


def _visor(run, share):
  c = config.digits(frames=2, share=share)
  c.eval.plans = 'all+router'  # its base was only taught to read
  if run == 'visor':
    c.eval.reduce = 'visionzip:1/2+vispruner:1/2'
  else:
    c.model.reduce = {'tr2': 'pack:2', 'tr4': 'pack:4'}[run]
  return c


def _dense(run, share):
  c = config.digits(frames=2, share=share)
  c.jobs = 'base+eval+report'
  for stage in ('cross', 'full', 'universal'):
    c.base.steps += c[stage].steps
    c[stage].steps = 0
  # It reads when VISOR's cross stage would begin, and goes on from there.
  c.data.digits.primers.update(cross=0, full=0)
  c.base.end_lr_fraction = 0.05
  c.eval.plans = 'base'
  if run == 'm3':
    c.model.reduce = c.eval.reduce = SCALES
    # As published, scales are taught to a trained model.
    c.base.full_token_fraction = 0.5
  elif run == 'eemllm':
    c.model.reduce = 'eemllm'
  else:
    c.eval.reduce = '+'.join(FREE)
  return c
