"""What a stranger, or a disk that fails, may have written into a file."""

import copy
import json

import numpy as np

# JSON says it in a few bytes.
VALUES = (
  *(None, True, False, 0, 1, -1, 3, 2**31, 40_000_000_000, 10**30, 10**400),
  *(0.5, -1e-9, 1e300, float('nan'), float('inf')),
  *('', 'a', '(9999999x1)', 'x' * 5000, '\ud800', '\x00', '{{ 1 }}', '..', '/'),
  *([], [[]], {}, {'a': 1}, [1] * 2000, [None], [-1], [0.5], ['a'], {'': {}}),
  *([[384, 384]] * 3, {'height': 0}, {'rope_type': 'yarn'}, [[1, 2, 3]]),
)


def place(rng, value):
  """(what holds it, its key) of something in an object or a list."""
  while True:
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[rng.integers(len(keys))]
    inner = value[key]
    if not (isinstance(inner, dict | list) and inner and rng.random() < 0.7):
      return value, key
    value = inner


def change(rng, value):
  """An object of JSON in which one to three things are otherwise."""
  value = json.loads(json.dumps(value))
  for _ in range(rng.integers(1, 4)):
    if not value:
      return value
    holder, key = place(rng, value)
    kind = rng.integers(6)
    if kind == 0:
      del holder[key]
    elif kind == 1:
      other, other_key = place(rng, value)
      holder[key] = json.loads(json.dumps(other[other_key]))
    elif kind == 2 and type(holder[key]) is int:
      holder[key] += int(rng.integers(-3, 4))
    elif kind == 3 and isinstance(holder, dict):
      holder[f'{key}x'] = holder.pop(key)
    else:
      holder[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
  return value


def damage(rng, text):
  """Bytes of which some are gone, others or more."""
  text = bytearray(text)
  for _ in range(rng.integers(1, 4)):
    at = int(rng.integers(len(text) + 1))
    kind = rng.integers(4)
    if kind == 0:
      del text[at:]
    elif kind == 1:
      text[at : at + 1] = bytes(rng.integers(0, 256, 1, np.uint8))
    elif kind == 2:
      text[at:at] = text[: int(rng.integers(60))]
    else:
      text[at:at] = b'[' * int(10 ** rng.integers(1, 6))
  return bytes(text)


def file(rng, values):
  """The bytes of a JSON file that was well once."""
  text = json.dumps(change(rng, values)).encode()
  return damage(rng, text) if rng.random() < 0.15 else text


# Parts of templates, some of which are bombs where they are put together.
PIECES = (
  '{% for m in messages %}',
  '{% endfor %}',
  '{% for i in range(10**9) %}',
  '{% for i in range(9999) %}',
  '{% if m %}',
  '{% if messages[0].role != "system" %}',
  '{% else %}',
  '{% endif %}',
  '{% set x = x ~ x %}',
  '{% set x = "a" * 99999 %}',
  '{% set ns = namespace(x="ab") %}',
  '{% set ns.x = ns.x + ns.x %}',
  '{% macro f(n) %}',
  '{% endmacro %}',
  '{{ f(f(9)) }}',
  '{{ m.role }}',
  '{{ m["content"] }}',
  '{{ "<|im_start|>" + m["role"] + m["content"][0]["text"] }}',
  '{{ "<|im_end|>" }}',
  '{{ eos_token }}',
  '{{ x | tojson(indent=9999) }}',
  '{{ x | center(10**8) }}',
  '{{ "%999999999d" % 1 }}',
  '{{ "{:>999999999}".format(1) }}',
  '{{ 9**9**9 }}',
  '{{ [x] * 99999 }}',
  '{{ messages | map("string") | join("a" * 9999) }}',
  '{{ "".__class__.__mro__ }}',
  '{{ raise_exception(x) }}',
  '{{ strftime_now("%Y") * 99 }}',
  '{% include "x" %}',
  '{% generation %}',
  '{% endgeneration %}',
  '{% if add_generation_prompt %}',
  '<image>',
  '{{ cycler(*range(9999)) }}{{ lipsum(9999) }}',
  '{{ ' + '(' * 500,
  '}}',
  '{#',
)


def template(rng, text):
  """A template of pieces, or one with pieces in it."""
  pieces = [PIECES[i] for i in rng.integers(len(PIECES), size=8)]
  if rng.random() < 0.4:
    return ''.join(pieces)
  parts = text.split('{%-')
  for piece in pieces[: rng.integers(1, 4)]:
    parts.insert(int(rng.integers(len(parts) + 1)), piece)
  return ''.join(
    part if part in PIECES or not n else '{%-' + part
    for n, part in enumerate(parts)
  )
