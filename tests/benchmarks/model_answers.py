"""Answers as odd as models give them, for `pairs`.

All take a random.Random and draw from it in a fixed order, on which the frozen
pairs depend.
"""

from tests.benchmarks import wording


def phrase(rng, longest=4):
  """One to `longest` words."""
  return ' '.join(
    rng.choice(wording.WORDS) for _ in range(rng.randint(1, longest))
  )


def near(rng, text):
  """A number that is about as large."""
  for word in text.split():
    bare = word.strip('$%,.').replace(',', '')
    try:
      value = float(bare)
    except ValueError:
      continue
    factor = rng.choice(
      (1, 0.95, 0.951, 0.949, 1.05, 1.0499, 1.0501, 0.5, 1.01)
    )
    out = rng.choice(
      (
        f'{value * factor:g}',
        f'{value * factor:,.2f}',
        f'{value * factor / 100}',
        f'{value * factor:.1f}%',
      )
    )
    return out + '%' * ('%' in word and rng.random() < 0.5)
  return text[::-1]


def typo(rng, text):
  """Some characters are others."""
  out = list(text)
  for _ in range(rng.randint(1, 3)):
    at = rng.randint(0, len(out))
    edit = rng.choice('add drop change swap'.split())
    if edit == 'add':
      out.insert(at, rng.choice('aeSs. ,-ß'))
    elif at < len(out):
      if edit == 'drop':
        del out[at]
      elif edit == 'change':
        out[at] = rng.choice('xyzÄ1')
      else:
        out[at : at + 2] = out[at : at + 2][::-1]
  return ''.join(out)


def free_text(rng, golds):
  """What a model may answer where these are right."""
  gold = rng.choice(golds)
  return rng.choice(
    (
      lambda: gold,
      lambda: gold.upper(),
      lambda: gold.lower(),
      lambda: gold.title(),
      lambda: f'  {gold} ',
      lambda: gold.strip('.,%$'),
      lambda: rng.choice(wording.SENTENCES).replace('{}', gold),
      lambda: rng.choice(wording.SENTENCES).replace('{}', gold),
      lambda: typo(rng, gold),
      lambda: typo(rng, gold),
      lambda: near(rng, gold),
      lambda: near(rng, gold),
      lambda: gold.replace(' ', ''),
      lambda: gold.replace(' ', '  '),
      lambda: gold.replace(',', ''),
      lambda: gold[: len(gold) // 2],
      lambda: gold + ' ' + phrase(rng, 2),
      lambda: phrase(rng),
      lambda: rng.choice(wording.ODD),
      lambda: rng.choice(wording.ODD),
    )
  )()


def choice(rng, letters, texts, right):
  """What a model may answer where it is to name a letter."""
  if rng.random() < 0.12:
    return rng.choice(wording.ODD)
  at = {c: i for i, c in enumerate(letters)}
  first = right if rng.random() < 0.6 else rng.choice(letters)
  second = rng.choice(letters)
  forms = rng.choice(
    (wording.CHOOSING, wording.CHOOSING, ('{c}', '{c}.', '{c}. {t}', '{c} '))
  )
  text = rng.choice(forms).format(
    c=first, d=second, t=texts[at[first]], u=texts[at[second]]
  )
  return rng.choice(
    (text, text, text, text.lower(), text.upper(), typo(rng, text))
  )


def yes_or_no(rng, gold):
  """What a model may answer where it is to say yes or no."""
  return rng.choice(
    (
      gold,
      gold.lower(),
      gold.upper(),
      f'{gold}.',
      f' {gold}',
      f'{gold}, it is',
      'Yes',
      'no',
      rng.choice(wording.ODD),
      f'The answer is {gold}',
      'not at all',
      'Ye',
      'know',
      'I say yes',
      'No.',
      'yes\n',
      gold[:1],
      gold + '!',
      'YES.',
      'n.o',
    )
  )
