"""What plans cost for an image and a question.

  python -m visor_jax.flops --size=0.5b --image=2200x1700 --text=60

An image of so many pixels becomes tiles and visual tokens as LLaVA-OneVision
cuts it (anyres_max_9). Savings are against the dense base; "LLM prefill" is
everything behind the connector.
"""

import argparse
import json
import re
import sys

from visor_jax import flops
from visor_jax import plan as plans
from visor_jax import reduction
from visor_jax import sizes
from visor_jax.data import images

RECIPE = images.Recipe(
    384, 27, tuple((384 * h, 384 * w) for h in range(1, 7)
                   for w in range(1, 7)), 9, (.5,) * 3, (.5,) * 3)
ACCOUNTINGS = {a.name: a for a in (flops.NOMINAL, flops.EXECUTED)}


def table(size: sizes.Size, layout: plans.Layout, selections, visual: int,
          text: int, tiles: int, accounting: flops.Accounting,
          reductions=()) -> list[dict]:
  """A row for each plan, then one for each token reduction, of the base.

  Args:
    size: of the model.
    layout: the VISOR layout.
    selections: plan.Selection, each of one plan or the base.
    visual: visual tokens.
    text: text tokens.
    tiles: that the vision tower sees.
    accounting: see flops.Accounting.
    reductions: of the base's visual tokens.

  Returns:
    method (the token reduction, '' for none), plan (list of 0/1 over the
    optional SELF layers, None for the base),
    self_layers (how many of them run), llm_prefill, routing (what the router
    adds where it chooses), vision (tower and connector), total (end to end,
    without routing), flops_saved (LLM prefill), total_saved, cache_bytes (of a
    prompt in bfloat16).
  """
  of = lambda plan, routing=0, reduced=None: flops.cost(
      size, layout, plan, visual, text, accounting, tiles=tiles,
      routing=routing, reduction=reduced)
  base, rows = of(None), []
  for plan, reduced in (*((s.plan, None) for s in selections),
                        *((None, r) for r in reductions)):
    cost = of(plan, reduced=reduced)
    rows.append(dict(
        method=str(reduced or ''),
        plan=None if plan is None else [int(on) for on in plan],
        self_layers=size.language.depth if plan is None else sum(plan),
        llm_prefill=cost.llm_prefill,
        routing=0 if plan is None else of(plan, 1).routing,
        vision=cost.vision + cost.connector, total=cost.total,
        flops_saved=base.llm_prefill / cost.llm_prefill,
        total_saved=base.total / cost.total,
        cache_bytes=sum(flops.cache(size, layout, plan, visual, text, 2,
                                    tiles=tiles, reduction=reduced))))
  return rows


def pixels(text: str) -> tuple[int, int]:
  """Height and width of 'HEIGHTxWIDTH'.

  Raises:
    ValueError: it is not written so, or one is 0.
  """
  found = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', text)
  if not found:
    raise ValueError(f'--image {text}: expected HEIGHTxWIDTH, as 2200x1700')
  return int(found[1]), int(found[2])


def _selections(text, layout):
  """Those of the grammar; 'all' runs the first 0, 1, ... SELF layers."""
  count = len(layout.optional)
  viable = tuple((True,) * n + (False,) * (count - n) for n in range(count + 1))
  found = plans.parse(text, layout, viable)
  if any(s.selector == 'router' for s in found):
    raise ValueError('--plans router: what it takes depends on the question; '
                     'the column routing says what choosing adds to a plan')
  return found


def _parser():
  parser = argparse.ArgumentParser(
      prog='python -m visor_jax.flops', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add('--size', default='0.5b', help=', '.join(sorted(sizes.SIZES)))
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument('--image', metavar='HEIGHTxWIDTH', help='in pixels')
  what.add_argument('--visual', type=int, metavar='N',
                    help='visual tokens; the vision tower is left out')
  add('--text', type=int, default=60, metavar='N',
      help='text tokens; default: %(default)s')
  add('--plans', default='base+all',
      help='as every command takes them; all: the first 0, 1, ... optional '
           'SELF layers run; default: %(default)s')
  add('--reduce', default='', metavar='METHODS',
      help='token reductions of the base, as visionzip-64+fastv:2:0.5; see '
           'visor_jax/reduction.py')
  add('--accounting', default='nominal', choices=sorted(ACCOUNTINGS),
      help='default: %(default)s')
  add('--json', action='store_true', help='the rows as one line of JSON, last')
  return parser


def main(argv=None) -> int:
  """Prints the table; returns the exit code."""
  args = _parser().parse_args(argv)
  try:
    if args.text < 1 or (args.visual or 0) < 0:
      raise ValueError(f'--text {args.text}, --visual {args.visual}: expected '
                       'some text, and no less than no image')
    size = sizes.get(args.size)
    layout = plans.visor(size.language.depth)
    visual, tiles = args.visual, 0
    if args.image:
      plan = images.plan(RECIPE, *pixels(args.image))
      visual, tiles = plan.tokens, plan.tiles
    accounting = ACCOUNTINGS[args.accounting]
    rows = table(size, layout, _selections(args.plans, layout), visual,
                 args.text, tiles, accounting, reduction.parse(args.reduce))
  except ValueError as e:
    print(f'error: {e}', file=sys.stderr)
    return 1
  print(f'{args.size}: {visual} visual tokens of {tiles} tiles, {args.text} '
        f'text tokens; GFLOPs\n{accounting.describe()}\n')
  print(f'{"plan":>16} {"LLM prefill":>12} {"saved":>7} {"routing":>9} '
        f'{"vision":>9} {"total":>9} {"saved":>7} {"cache MB":>9}')
  for row in rows:
    name = row['method'] or ('base' if row['plan'] is None else plans.name(
        tuple(map(bool, row['plan']))))
    giga = lambda key: f'{row[key] / 1e9:.4g}'
    print(f'{name:>16} {giga("llm_prefill"):>12} {row["flops_saved"]:>6.2f}x '
          f'{giga("routing"):>9} {giga("vision"):>9} {giga("total"):>9} '
          f'{row["total_saved"]:>6.2f}x {row["cache_bytes"] / 1e6:>9.1f}')
  if args.json:
    print(json.dumps(rows))
  return 0


if __name__ == '__main__':
  sys.exit(main())
