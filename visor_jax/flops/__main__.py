"""What plans cost for an image and a question.

  python -m visor_jax.flops --size=0.5b --image=2200x1700 --text=60

An image of so many pixels becomes tiles and visual tokens as the published
checkpoints of the size cut it. Savings are against the dense base; "LLM
prefill" is everything behind the connector, "visual" what of it the image
takes. Where tower and connector take more than that, which no plan changes, the
first line says what is left to save.

  ... --accounting=all

sets the savings side by side as FastV, VisionZip, SparseVLM, calflops and
torchtitan would count them, for ratios that others have published.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import re
import sys

from visor_jax.data.processing import processed
from visor_jax.data.suites import sizes as suite_sizes
from visor_jax.families import table as families
from visor_jax.flops import accounting as accounting_lib
from visor_jax.flops import table as table_lib
from visor_jax.reduction import grammar
from visor_jax.runtime import command
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans


def pixels(text: str) -> tuple[int, int]:
  """Height and width of 'HEIGHTxWIDTH'.

  Raises:
    ValueError: it is not written so, or one is 0.
  """
  match = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', text)
  if not match:
    raise ValueError(f'--image {text}: expected HEIGHTxWIDTH, as 2200x1700')
  return int(match[1]), int(match[2])


def _selections(text, layout):
  """Those of the grammar; 'all' runs the first 0, 1, ... SELF layers."""
  count = len(layout.optional)
  viable = tuple((True,) * n + (False,) * (count - n) for n in range(count + 1))
  selections = plans.parse(text, layout, viable)
  if any(s.selector == 'router' for s in selections):
    raise ValueError(
      '--plans router: what it takes depends on the question; '
      'the column routing says what choosing adds to a plan'
    )
  return selections


def _parser():
  parser = command.parser('python -m visor_jax.flops', __doc__)
  add = parser.add_argument
  add(
    '--size',
    default='0.5b',
    help=', '.join(sorted(families.size_names(suite_sizes.SIZES))),
  )
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument('--image', metavar='HEIGHTxWIDTH', help='in pixels')
  what.add_argument(
    '--visual',
    type=int,
    metavar='N',
    help='visual tokens; the vision tower is left out',
  )
  add(
    '--text',
    type=int,
    default=60,
    metavar='N',
    help='text tokens; default: %(default)s',
  )
  add(
    '--plans',
    default='base+all',
    help='as every command takes them; all: the first 0, 1, ... optional '
    'SELF layers run; default: %(default)s',
  )
  add(
    '--reduce',
    default='',
    metavar='METHODS',
    help='token reductions of the base, as visionzip-64+fastv:2:0.5; see '
    'visor_jax/reduction/grammar.py',
  )
  add(
    '--accounting',
    default='nominal',
    choices=(*accounting_lib.ACCOUNTINGS, 'all'),
    help='who counts; all: the savings of each side by side; default: '
    '%(default)s',
  )
  add('--json', action='store_true', help='the rows as one line of JSON, last')
  return parser


def _name(row):
  if row['method']:
    return row['method']
  return (
    'base' if row['plan'] is None else plans.name(tuple(map(bool, row['plan'])))
  )


def _question(args, model):
  """What the image and the text become, for a model with its reduction."""
  reduction = grammar.single(model.reduction)
  side = reduction.longest_side
  if reduction.in_data and not side:
    raise ValueError(
      f'--reduce {reduction}: what is left depends on the pixels of the image'
    )
  if args.image:
    height, width = pixels(args.image)
    if side:
      height, width = processed.smaller(height, width, side)
    family, vision = families.named(model.family), grammar.size(model).vision
    plan = family.plan_image(height, width, vision)
    return table_lib.Question(plan.tokens, args.text, plan.tiles)
  if side:
    raise ValueError(
      f'--reduce {model.reduction}: what is left depends on the size of the '
      'image; give --image, not --visual'
    )
  return table_lib.Question(args.visual, args.text, 0)


def _limit(model, question, accounting):
  """A line where tower and connector take more than the language model."""
  base, cheapest = (
    question.cost(model, plan, accounting) for plan in (None, model.layout.min)
  )
  tower = base.vision + base.connector
  if tower <= base.llm_prefill:
    return ''
  return (
    f'the vision tower takes {tower / base.total:.0%} of the base, whatever '
    f'the plan: end to end {base.total / cheapest.total:.2f}x is the most to '
    'save\n'
  )


def _print(rows, accounting):
  """What each plan takes."""
  print(
    f'G{"FLOPs" if accounting.per_mac == 2 else "MACs"}; '
    f'{accounting.describe()}\n'
  )
  print(
    f'{"plan":>16} {"end to end":>11} {"saved":>7} {"vision":>9} '
    f'{"LLM prefill":>12} {"saved":>7} {"visual":>9} {"routing":>9} '
    f'{"cache MB":>9}'
  )
  for row in rows:
    print(
      f'{_name(row):>16} {_giga(row["total"]):>11} '
      f'{row["total_saved"]:>6.2f}x {_giga(row["vision"]):>9} '
      f'{_giga(row["llm_prefill"]):>12} {row["flops_saved"]:>6.2f}x '
      f'{_giga(row["visual"]):>9} {_giga(row["routing"]):>9} '
      f'{row["cache_bytes"] / 1e6:>9.1f}'
    )


def _giga(flops: float) -> str:
  return f'{flops / 1e9:.4g}'


def _print_all(rows):
  """What each plan saves, by who counts."""
  for what, key in (('end to end', 'whole_saved'), ('LLM prefill', 'saved')):
    print(f'saved against the base, {what}\n')
    print(f'{"plan":>16} ' + ' '.join(f'{name:>11}' for name in rows[0][key]))
    for row in rows:
      print(
        f'{_name(row):>16} '
        + ' '.join(f'{ratio:>10.2f}x' for ratio in row[key].values())
      )
    print()
  for accounting in accounting_lib.ACCOUNTINGS.values():
    print(accounting.describe())


def main(argv: Sequence[str] | None = None) -> int:
  """Prints the table; returns the exit code."""
  args = _parser().parse_args(argv)
  return command.run(lambda: _show(args))


def _show(args: argparse.Namespace) -> int:
  if args.text < 1 or (args.visual or 0) < 0:
    raise ValueError(
      f'--text {args.text}, --visual {args.visual}: expected '
      'some text, and no less than no image'
    )
  family, size = families.named_size(args.size, suite_sizes.SIZES)
  layout = plans.visor(size.language.depth)
  model = architecture_lib.Architecture(size, layout, family=family)
  question = _question(args, model)
  side_by_side = args.accounting == 'all'
  accounting = (
    accounting_lib.NOMINAL
    if side_by_side
    else accounting_lib.ACCOUNTINGS[args.accounting]
  )
  reductions = {
    str(reduction): _question(
      args, dataclasses.replace(model, reduction=str(reduction))
    )
    for reduction in grammar.parse(args.reduce)
  }
  rows = table_lib.table(
    model,
    _selections(args.plans, layout),
    question,
    accounting,
    reductions,
  )
  print(
    _limit(model, question, accounting)
    + f'{args.size}: {question.visual} visual tokens of {question.tiles} '
    f'tiles, {question.text} text tokens'
  )
  if side_by_side:
    _print_all(rows)
  else:
    _print(rows, accounting)
  if args.json:
    print(json.dumps(rows))
  return 0


if __name__ == '__main__':
  sys.exit(main())
