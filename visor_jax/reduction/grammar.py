"""How a token reduction is written, in `model.reduce` and `eval.reduce`.

  visionzip:0.25     a method of reduction/table.py and its numbers
  fastv:2:0.5        several are separated by colons
  vispruner:1/9      a share is a decimal or a fraction
  shortv:2,5-7       layers are counted from 0
  shortv:0.5         layers to be found, with which the base takes that share of
                     its LLM prefill FLOPs: the eval job looks for them
  visionzip-64       a setting as its paper names it
  a+b                several: a training step minimises the mean of their losses

Methods that work before the decoder change what it gets and go with every
plan; those that work between layers or in them change the dense one: plan base.

Those that work before the tower act in the data, and go with every plan, too.

Plain Python: config, model and accounting all speak of it.
"""

from collections.abc import Callable
import dataclasses
import fractions
import re
from typing import Any

from visor_jax.families import table as families
from visor_jax.reduction import method as method_lib
from visor_jax.reduction import skips
from visor_jax.reduction import table
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes


def parse(
  text: str, searches: bool = False
) -> tuple[method_lib.Reduction, ...]:
  """Reads the grammar in this module's docstring; '' is ().

  Args:
    text: what the user wrote.
    searches: methods may be among them whose layers are to be found, as
      skips.Search.

  Raises:
    ValueError: naming what is wrong and what can be written.
  """
  words = filter(None, (word.strip() for word in text.split('+')))
  reductions = tuple(dict.fromkeys(map(_read, words)))
  for reduction in reductions:
    if isinstance(reduction, skips.Search) and not searches:
      raise ValueError(
        f'token reduction "{reduction}" is looked for by an eval job, in '
        'eval.reduce, which says which layers it is; name them here'
      )
  return reductions


def searches(text: str) -> list[skips.Search]:
  """The methods in a text whose layers are to be found."""
  reductions = parse(text, searches=True)
  return [r for r in reductions if isinstance(r, skips.Search)]


def single(text: str) -> method_lib.Reduction:
  """The one reduction that a text names; of '' the one that keeps every token.

  Raises:
    ValueError: it names several, or what `parse` raises.
  """
  reductions = parse(text)
  if len(reductions) > 1:
    raise ValueError(
      f'token reduction "{text}" names {len(reductions)}; a model has one'
    )
  return reductions[0] if reductions else method_lib.Reduction()


def size(architecture: architecture_lib.Architecture) -> sizes.Size:
  """A model's size, with the tiles that its tower gets of smaller images.

  Raises:
    ValueError: images cannot be made so small.
  """
  side = single(architecture.reduction).longest_side
  if not side:
    return architecture.size
  resized = families.named(architecture.family).resized
  return dataclasses.replace(
    architecture.size, vision=resized(architecture.size.vision, side)
  )


def visual_works(
  architecture: architecture_lib.Architecture, layout: plans.Layout
) -> tuple[method_lib.VisualWork, ...]:
  """What each layer does to visual tokens, if it is one that sees them.

  The last one may leave them as they are, for nobody reads them after it.
  """
  reduction = single(architecture.reduction)
  last = architecture.last_self(layout)
  return tuple(
    method_lib.UNTOUCHED if layer == last else reduction.visual_work(layer)
    for layer in range(architecture.depth)
  )


def published() -> dict[str, str]:
  """Settings as papers name them: {name: in numbers}."""
  settings: dict[str, str] = {}
  for method in table.METHODS.values():
    settings |= method.published
  return settings


def _read(word: str) -> method_lib.Reduction:
  try:
    return _parse_one(word)
  except ValueError as e:
    raise ValueError(f'token reduction "{word}": {e}') from None


def _parse_one(word: str) -> method_lib.Reduction:
  settings = published()
  name, *numbers = settings.get(word, word).split(':')
  if name not in table.METHODS:
    raise ValueError(
      f'expected one of {", ".join(table.METHODS)} with its numbers, as '
      f'"visionzip:0.25", or one of {", ".join(settings)}'
    )
  method = table.METHODS[name]
  if issubclass(method, skips.Skips) and set(''.join(numbers)) & {'.', '/'}:
    return skips.Search(method, _share(':'.join(numbers)))
  fields = dataclasses.fields(method)
  if len(numbers) != len(fields):
    form = ':'.join([name, *(f.name.upper() for f in fields)])
    count = {0: 'no number', 1: 'one number', 2: 'two numbers'}.get(
      len(fields), f'{len(fields)} numbers'
    )
    raise ValueError(f'expected "{form}", its name and {count}')
  return method(
    *(_NUMBERS[f.type](number) for f, number in zip(fields, numbers))
  )


def _share(text: str) -> fractions.Fraction:
  try:
    share = fractions.Fraction(text)
  except (ValueError, ZeroDivisionError):
    share = fractions.Fraction(0)
  # On the device a share is a product of integers, which has to fit.
  if not 0 < share <= 1 or share.denominator > 10_000:
    raise ValueError(
      f'{text} is no share, as 0.25 or 1/9, above 0 and at most 1, of four '
      'digits'
    )
  return share


def _count(text: str) -> int:
  if not (text.isdecimal() and int(text)):
    raise ValueError(f'{text!r} is no whole number above 0')
  return int(text)


def _layers(text: str) -> tuple[int, ...]:
  layers: set[int] = set()
  for word in text.split(','):
    match = re.fullmatch(r'(\d{1,4})(?:-(\d{1,4}))?', word)
    first, last = (match[1], match[2] or match[1]) if match else ('1', '0')
    if int(first) > int(last):
      raise ValueError(f'{text!r} names no layers, as 2,5-7 counted from 0')
    layers.update(range(int(first), int(last) + 1))
  return tuple(sorted(layers))


_NUMBERS: dict[Any, Callable[[str], Any]] = {
  fractions.Fraction: _share,
  int: _count,
  tuple[int, ...]: _layers,
  tuple[fractions.Fraction, ...]: lambda text: tuple(
    map(_share, text.split(','))
  ),
}
