"""transformers is asked the same: how far apart both are.

A case is (images, prompt), the oracle a llava.Oracle or one of its kind.
"""

import numpy as np

from tests import llava
from tests import questions
import visor_jax

# As thin as any family takes it, as large as cameras make it.
EXTREMES = (1, 1), (4000, 3000), (3000, 4000), (40, 4000), (4000, 40), (1, 99)


def sizes(rng, count):
  """Sizes from 1 x 1 to 4000 x 3000, every magnitude as likely as another."""
  sides = np.exp(rng.uniform(0, np.log((4000, 3000)), (count, 2)))
  return [tuple(map(int, s)) for s in sides]


def cases(sizes):
  """Each size alone, several images, and text alone."""
  images = [llava.picture(*size) for size in sizes]
  return [
    *(([image], 'What is the total?') for image in images),
    (images[1:3], 'First <image> then <image>, which is red?'),
    (images[:3], 'Which is red?'),
    ([], 'How many?'),
  ]


def worst(model, oracle, cases):
  """Largest difference of logits, all cases in one batch."""
  theirs = [oracle.logits(*case) for case in cases]
  ours = model.logits(*zip(*cases))
  for a, b in zip(ours, theirs, strict=True):
    assert a.shape == b.shape and a.dtype == np.float32
  return max(np.abs(a - b).max() for a, b in zip(ours, theirs))


def worst_of_rounding(model, oracle, cases):
  """`worst` from the oracle in float64, and how far its float32 is from it."""
  single = [oracle.logits(*case) for case in cases]
  oracle.model.double()
  ours = worst(model, oracle, cases)
  double = [oracle.logits(*case) for case in cases]
  oracle.model.float()
  return ours, max(np.abs(a - b).max() for a, b in zip(single, double))


def same_text(model, oracle, cases):
  """Asserts equal greedy text of 64 tokens, unless the best two are too close
  to call; returns how many were, and the numbers of different tokens."""
  close, different = 0, []
  answers = model.generate(*zip(*cases), max_new_tokens=64)
  for (images, prompt), got in zip(cases, answers, strict=True):
    tokens, gaps = oracle.generate(images, prompt, 64)
    want = oracle.tokenizer.decode(tokens, skip_special_tokens=True)
    different.append(len(set(tokens)))
    if min(gaps) < 1e-4:
      print(f'"{prompt}": the best two are {min(gaps):.1e} apart')
      close += 1
    else:
      assert got.text == want and got.tokens == len(tokens)
  return close, different


def drill(oracle_of, thinnest):
  """Asks ten models for images of all sizes, and prints what came out.

  Args:
    oracle_of: (number, random draws) -> an Oracle of a random shape.
    thinnest: times that an image is as long as wide.
  """
  errors, close, different = [], 0, []
  for number in range(10):
    rng = np.random.default_rng(number)
    oracle = oracle_of(number, rng)
    model = visor_jax.load(oracle.folder)
    drawn = [s for s in sizes(rng, 4) if max(s) <= thinnest * min(s)]
    asked = cases((*EXTREMES, *drawn))
    asked += [([llava.picture(77, 400)], str(rng.choice(questions.PROMPTS)))]
    errors.append(worst(model, oracle, asked))
    if errors[-1] >= 1e-4:
      errors[-1], theirs = worst_of_rounding(model, oracle, asked)
      print(f'theirs is {theirs:.1e} from itself in float64, ours')
      assert theirs > 1e-4
    more = same_text(model, oracle, asked)
    close, different = close + more[0], different + more[1]
    print(f'{number}: {errors[-1]:.1e}, {len(asked)} cases', flush=True)
  print(
    f'logits at most {max(errors):.1e} apart; {len(different)} texts, '
    f'{np.median(different):.0f} different tokens in the median; too close to '
    f'call: {close}'
  )
  assert max(errors) < 1e-4
