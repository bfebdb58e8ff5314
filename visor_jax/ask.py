"""Asks a checkpoint about images.

  python -m visor_jax.ask --checkpoint CKPT --image page.png \
      --prompt "What is the total?" --prompt "Who signed it?"
  python -m visor_jax.ask --checkpoint runs/quickstart --index 17

The second asks a test question of the built-in suite that a run has learned
from, writes its picture into the workdir and says the right answer, too.

Images are read once for all questions; without --prompt, questions are the
lines of the standard input. The router chooses the plan where it is trained;
else `max` answers, or of a checkpoint without VISOR the base. Which one it was
stands beside the answer. Compiled programs are kept beside the checkpoint, for
the next time.
"""

import argparse
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import json
import sys

from visor_jax import inference
from visor_jax.eval import answer as answer_lib
from visor_jax.eval import built_in
from visor_jax.eval import pieces
from visor_jax.eval import reading as reading_lib
from visor_jax.eval import sampling
from visor_jax.runtime import command
from visor_jax.runtime import compilation_cache
from visor_jax.runtime import compile_notice
from visor_jax.runtime import files
from visor_jax.spec import plan as plans
from visor_jax.spec import shares
from visor_jax.spec import workdir

# Who chose the plan, in words.
_SELECTORS = {
  'fixed': 'as asked',
  'router': 'chosen by the router',
  'base': 'the dense model',
}


def _parser() -> argparse.ArgumentParser:
  parser = command.parser('python -m visor_jax.ask', __doc__)
  add = parser.add_argument
  add(
    '--checkpoint',
    required=True,
    type=command.path,
    metavar='FOLDER',
    help='an imported checkpoint, a workdir, or a folder that transformers can '
    'read',
  )
  add(
    '--image',
    action='append',
    default=[],
    type=command.path,
    metavar='FILE',
    help='an image; give it again for more',
  )
  add(
    '--prompt',
    action='append',
    default=[],
    metavar='TEXT',
    help='a question; images stand in front of it, or at its <image> markers; '
    'give it again for more; without any, lines are read',
  )
  add(
    '--index',
    action='append',
    default=[],
    type=int,
    metavar='N',
    help='instead of an image: test question N of the built-in suite of a run; '
    'with --prompt, its picture is asked that; give it again for more',
  )
  add(
    '--chat',
    action='store_true',
    help='questions follow one another, with their answers; else each stands '
    'alone',
  )
  add('--plan', help='base, max, min, router, or optional SELF layers as 0,3,5')
  add(
    '--budget',
    type=float,
    metavar='SHARE',
    help='instead of a plan: this share of what max takes, which a calibrated '
    'router spends on average over many questions; without one, the dearest '
    'plan within it',
  )
  add(
    '--budget-of',
    choices=tuple(shares.WORDS),
    default=shares.PREFILL,
    help='what it is a share of: FLOPs of LLM prefill, the default, or total, '
    'end to end',
  )
  add(
    '--drop',
    type=float,
    metavar='SHARE',
    help="instead of a plan: the router loses at most this share of max's "
    'accuracy, on average, as it was calibrated',
  )
  add(
    '--max-new-tokens',
    type=int,
    default=64,
    metavar='N',
    help='default: %(default)s',
  )
  add(
    '--temperature',
    type=float,
    default=0.0,
    help='0, the default, takes the likeliest token',
  )
  add(
    '--top-p',
    type=float,
    default=1.0,
    metavar='P',
    help='draw among the likeliest tokens that together have this probability',
  )
  add('--seed', type=int, default=0, help='of the draw')
  add(
    '--dtype',
    choices=('float32', 'bfloat16'),
    help='computed in; default: float32 on a CPU, else bfloat16',
  )
  add(
    '--allow-untrained',
    action='store_true',
    help='let plans run whose VISOR weights are fresh',
  )
  add(
    '--reduce',
    metavar='METHOD',
    help='a token reduction instead of the one that it was trained with, as '
    'resize:768 or visionzip:1/9; see visor_jax/reduction/grammar.py',
  )
  add('--json', action='store_true', help='a line of JSON for each answer')
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Prints the answer; returns the exit code."""
  args = _parser().parse_args(argv)
  return command.run(lambda: _ask(args))


def _ask(args: argparse.Namespace) -> int:
  sampling.check(args.max_new_tokens, args.temperature, args.top_p)
  tests = _tests(args)  # now, before the weights are read
  folder = compilation_cache.use_beside(args.checkpoint)
  with compile_notice.notices(_note):
    with contextlib.redirect_stdout(sys.stderr):  # it tells how far it is
      model = inference.load(
        args.checkpoint,
        dtype=args.dtype,
        allow_untrained=args.allow_untrained,
        reduce=args.reduce,
      )
    if folder.parent != args.checkpoint:
      _note(f'compiled programs are kept in {folder}')
    if tests:
      return _ask_tests(args, model, tests)
    return _ask_images(args, model)


def _tests(args: argparse.Namespace) -> dict[int, built_in.Test]:
  """The test questions that are asked, by their number."""
  if not args.index:
    return {}
  if args.image:
    raise ValueError(
      'give --image or --index: a test question has a picture of its own'
    )
  suite = built_in.of_run(args.checkpoint)
  return {index: suite.test(index) for index in args.index}


def _ask_images(args: argparse.Namespace, model: inference.Model) -> int:
  """Asks about images, or about none; returns the exit code."""
  reading = model.read(args.image)
  history: list[tuple[str, str]] = []
  for question in args.prompt:
    _answer(args, reading, question, history)
  refused = 0
  for question in () if args.prompt else _lines():
    try:
      _answer(args, reading, question, history)
    except ValueError as e:  # of this question; the next may be a better one
      command.tell(e)
      refused += 1
  return command.REFUSED if refused else 0


def _ask_tests(
  args: argparse.Namespace,
  model: inference.Model,
  tests: Mapping[int, built_in.Test],
) -> int:
  """Asks test questions, or others about their pictures."""
  for index, test in tests.items():
    path = workdir.Workdir(args.checkpoint).picture(index)
    files.write_atomic(path, test.picture)
    _note(f'test question {index}: {test.question}; its picture is {path}')
    reading = model.read(test.picture)
    history: list[tuple[str, str]] = []
    for question in args.prompt or [test.question]:
      known = test if question == test.question else None
      _answer(args, reading, question, history, known)
  return 0


def _lines() -> Iterator[str]:
  """Questions that are typed, or piped in."""
  if sys.stdin.isatty():
    _note('a question a line; Ctrl-D ends')
  for line in sys.stdin:
    if line.strip():
      yield line.strip()


def _answer(
  args: argparse.Namespace,
  reading: reading_lib.Reading,
  question: str,
  history: list[tuple[str, str]],
  test: built_in.Test | None = None,
) -> None:
  """Prints an answer as it comes, and remembers it for a chat.

  Args:
    args: of the command.
    reading: the images.
    question: about them.
    history: of the chat.
    test: what is known of the right answer.
  """

  def tell(piece: str) -> None:
    if not args.json:
      print(piece, end='', flush=True)

  stream = reading.stream(
    question,
    plan=args.plan,
    budget=args.budget,
    budget_of=args.budget_of,
    drop=args.drop,
    max_new_tokens=args.max_new_tokens,
    temperature=args.temperature,
    top_p=args.top_p,
    seed=args.seed,
    history=history,
  )
  answer = pieces.drain(stream, tell)
  known = test.grade(answer.text) if test else {}
  if args.json:
    print(json.dumps(dataclasses.asdict(answer) | known), flush=True)
  else:
    print(flush=True)
    if test:
      _note('{verdict}; the right answer is {gold}'.format(**known))
    _note(_describe(answer))
  if args.chat and answer.text.strip():
    history.append((question, answer.text))


def _note(text: str) -> None:
  print(f'[{text}]', file=sys.stderr, flush=True)


def _describe(answer: answer_lib.Answer) -> str:
  """Who gave an answer, and what it took."""
  name = 'base' if answer.plan is None else plans.name(answer.plan)
  ran, again = answer.ran_prefill_flops, ''
  if ran < answer.llm_prefill_flops:
    again = f', of which {ran / 1e9:.4g} ran: the image was read before'
  return (
    f'plan {name}, {_SELECTORS[answer.selector]}; {answer.visual_tokens} '
    f'visual and {answer.text_tokens} text tokens, {answer.tokens} new; '
    f'{answer.total_flops / 1e9:.4g} GFLOPs end to end, '
    f'{answer.total_saved:.1f}x fewer than base; LLM prefill '
    f'{answer.llm_prefill_flops / 1e9:.4g}, {answer.flops_saved:.1f}x fewer'
    f'{again}; cache {answer.cache_bytes / 1e6:.4g} MB; {answer.seconds:.1f} s'
  )


if __name__ == '__main__':
  sys.exit(main())
