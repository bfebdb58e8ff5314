"""Plan base is LLaVA-OneVision: transformers is asked the same.

Here a draw of cases; `pytest -m drill` asks 200 and prints what came out.
"""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests import llava
import visor_jax
from visor_jax import ask
from visor_jax.convert import __main__ as convert
from visor_jax.eval import generate
from visor_jax.runtime import param_paths
from visor_jax.spec import budget
from visor_jax.spec import plan as plans

PROMPTS = (
  'What is the colour of the car?',
  'Hm?',
  'How many people are there? Say it in one word, please. ' * 4,
)


@pytest.fixture(scope='module')
def oracle(tmp_path_factory):
  return llava.Oracle(tmp_path_factory.mktemp('llava') / 'hf', tied=False)


@pytest.fixture(scope='module')
def model(oracle):
  return visor_jax.load(oracle.folder)


def sizes(rng, count):
  """Sizes from 1 x 1 to 4000 x 3000, thin ones included."""
  sides = np.exp(rng.uniform(0, np.log((4000, 3000)), (count, 2)))
  return [tuple(map(int, s)) for s in sides]


def cases(seed, count):
  """(keywords of an Oracle, [(images, prompt), ...]) with mixed lengths."""
  for number in range(count):
    rng = np.random.default_rng([seed, number])
    keys, group = rng.integers(1, 4, 2)
    heads = int(rng.choice([2, 3, 4]))
    kwargs = dict(
      tied=bool(rng.random() < 0.5),
      text=dict(
        num_attention_heads=int(keys * group),
        num_key_value_heads=int(keys),
        head_dim=int(rng.choice([4, 8, 10])),
        num_hidden_layers=int(rng.integers(1, 8)),
      ),
      vision=dict(
        hidden_size=heads * int(rng.choice([4, 6])),
        num_attention_heads=heads,
        num_hidden_layers=int(rng.integers(1, 4)),
      ),
    )
    asked = []
    for i in range(4):
      images = [
        llava.picture(*s, seed=i)
        for s in sizes(rng, [1, 1, 0, rng.integers(2, 5)][i])
      ]
      prompt = str(rng.choice(PROMPTS))
      if i == 3 and rng.random() < 0.5:
        prompt = ' then '.join(['<image>'] * len(images)) + prompt
      asked.append((images, prompt))
    yield kwargs, asked


def worst(found, wanted):
  """Largest difference of two lists of logits."""
  for a, b in zip(found, wanted, strict=True):
    assert a.shape == b.shape and a.dtype == np.float32
  return max(np.abs(a - b).max() for a, b in zip(found, wanted))


def check_case(folder, kwargs, asked):
  oracle = llava.Oracle(folder, **kwargs)
  model = visor_jax.load(folder)
  jax.clear_caches()  # every case is a program of its own
  found = model.logits(*zip(*asked))
  return worst(found, [oracle.logits(*case) for case in asked])


@pytest.mark.parametrize('number', range(3))
def test_logits_are_transformers(number, tmp_path):
  """Of random shapes, image sizes and numbers of images, in one batch."""
  *_, case = cases(1, number + 1)
  assert check_case(tmp_path / 'hf', *case) < 1e-4


@pytest.mark.drill
def test_agreement_in_bfloat16(tmp_path):
  """How far both are from float32, and how often they say the same."""
  oracle = llava.Oracle(tmp_path / 'hf')
  asked = [case for _, some in cases(3, 5) for case in some]
  exact = [oracle.logits(*case) for case in asked]
  ours = visor_jax.load(tmp_path / 'hf', dtype='bfloat16').logits(*zip(*asked))
  oracle.model = oracle.model.bfloat16()
  theirs = [oracle.logits(*case) for case in asked]
  for name, found in (('ours', ours), ('theirs', theirs)):
    off = np.concatenate([np.abs(a - b).ravel() for a, b in zip(found, exact)])
    same = np.concatenate(
      [a.argmax(-1) == b.argmax(-1) for a, b in zip(found, exact)]
    )
    print(
      f'{name} in bfloat16: off by {off.mean():.3f} on average, at most '
      f'{off.max():.2f}, of logits up to {max(map(np.max, exact)):.1f}; '
      f'the likeliest token is the same in {same.mean():.1%}'
    )


@pytest.mark.drill
def test_logits_are_transformers_200_times(tmp_path):
  found = []
  for number, case in enumerate(cases(2, 50)):
    found.append(check_case(tmp_path / str(number), *case))
    print(number, case[0], f'{found[-1]:.1e}', flush=True)
  print(f'{4 * len(found)} cases, worst {max(found):.1e}')
  assert max(found) < 1e-4


# Generation -------------------------------------------------------------------

PICTURES = (
  [llava.picture(45, 62)],
  [],
  [llava.picture(9, 130, 1)] * 2,
  [llava.picture(300, 20)],
)
ASKED = list(zip(PICTURES, (PROMPTS[0], PROMPTS[1], PROMPTS[2], 'No.')))


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  path = tmp_path_factory.mktemp('image') / 'page.png'
  PICTURES[0][0].save(path)
  return str(path)


def same_text(oracle, model, asked):
  """Asserts equal greedy text of 64 tokens, unless the best two are too close
  to call; returns how many were, and the numbers of different tokens."""
  close, different = 0, []
  answers = model.generate(*zip(*asked), max_new_tokens=64)
  for (images, prompt), got in zip(asked, answers):
    tokens, gaps = oracle.generate(images, prompt, 64)
    want = oracle.tokenizer.decode(tokens, skip_special_tokens=True)
    different.append(len(set(tokens)))
    if min(gaps) < 1e-4:
      print(f'"{prompt}": the best two are {min(gaps):.1e} apart')
      close += 1
    else:
      assert got.text == want and got.tokens == len(tokens)
  return close, different


def test_greedy_text_is_transformers(oracle, model):
  close, different = same_text(oracle, model, ASKED)
  assert close < 4 and max(different) > 9  # or this would prove little


@pytest.mark.drill
def test_greedy_text_is_transformers_40_times(tmp_path):
  close, different = 0, []
  for number, (kwargs, asked) in enumerate(cases(4, 10)):
    oracle = llava.Oracle(tmp_path / str(number), **kwargs | dict(tied=False))
    jax.clear_caches()
    found = same_text(oracle, visor_jax.load(oracle.folder), asked)
    close, different = close + found[0], different + found[1]
  print(
    f'{len(different)} texts, {np.median(different):.0f} different tokens '
    f'in the median; too close to call: {close}'
  )


def test_a_batch_answers_as_each_alone(model):
  together = model.generate(*zip(*ASKED), max_new_tokens=9)
  for (images, prompt), got in zip(ASKED, together):
    alone = model.generate(images, prompt, max_new_tokens=9)
    assert dataclasses.replace(alone, seconds=0) == (
      dataclasses.replace(got, seconds=0)
    )


def test_one_image_needs_no_list(model, page):
  one = model.logits(page, PROMPTS[0])
  np.testing.assert_array_equal(one, model.logits([page], PROMPTS[0]))


def test_an_answer_states_its_cost(model):
  got = model.generate(*ASKED[0], max_new_tokens=3)
  assert (got.selector, got.plan, got.flops_saved) == ('base', None, 1)
  ((visual, text),) = model._pack([ASKED[0][0]], [ASKED[0][1]], 0).lengths
  assert (got.visual_tokens, got.text_tokens) == (visual, text)
  language = model.model.size.language
  values_of_token = 2 * language.key_heads * language.head_width
  assert got.cache_bytes == (
    (visual + text) * values_of_token * 4 * language.depth
  )


def test_sampling_is_a_function_of_the_seed(model):
  ask_ = lambda seed: (
    model.generate(
      *ASKED[0], max_new_tokens=12, temperature=2.0, top_p=0.9, seed=seed
    ).text
  )
  assert ask_(1) == ask_(1) and len({ask_(s) for s in range(4)}) > 1


@pytest.fixture(scope='module')
def trained(model):
  """VISOR weights that do something, and a router that cannot decide."""
  whole = visor_jax.load(model.source, allow_untrained=True)
  noise = np.random.default_rng(0)
  flat = param_paths.flatten(whole.params)
  for path, x in flat.items():
    if path.startswith(('llm/cross', 'router')):
      scale = 3 if path.startswith('router') else 0.3
      flat[path] = x + scale * noise.standard_normal(x.shape).astype('float32')
  layout = whole.model.layout
  scores, _ = generate.route(
    whole.model, param_paths.unflatten(flat), whole._pack(*zip(*ASKED), 0).batch
  )
  # Half of the questions for each of the two plans.
  flat['router/bias'] = (
    flat['router/bias'].at[0].add(-np.median(scores[:, 0] - scores[:, 1]))
  )
  return dataclasses.replace(
    whole,
    params=param_paths.unflatten(flat),
    facts=dataclasses.replace(
      whole.facts,
      trained=('cross', 'router'),
      viable=(layout.min, layout.max),
    ),
    allow_untrained=False,
  )


def test_the_router_answers_as_the_plan_it_chose(trained):
  """Grouped by plan, in the order of the questions."""
  asked = ASKED * 2
  routed = trained.generate(*zip(*asked), max_new_tokens=8)
  assert {a.selector for a in routed} == {'router'}
  assert len({a.plan for a in routed}) == 2
  fixed = {
    p: trained.generate(*zip(*asked), plans.name(p), max_new_tokens=8)
    for p in trained.facts.viable
  }
  for i, a in enumerate(routed):
    same = fixed[a.plan][i]
    assert (a.text, a.text_tokens) == (same.text, same.text_tokens)
    assert a.llm_prefill_flops > same.llm_prefill_flops  # routing is counted


def test_a_budget_is_the_dearest_plan_within_it(trained):
  share = {}
  for plan in ('min', 'max'):
    share[plan] = trained.generate(
      *ASKED[0], plan, max_new_tokens=1
    ).llm_prefill_flops
  less = share['min'] / share['max']
  of = lambda budget: plans.name(
    trained.generate(*ASKED[0], budget=budget, max_new_tokens=1).plan
  )
  assert of(1.0) == 'max' and of((1 + less) / 2) == of(less + 1e-6) == 'min'
  with pytest.raises(ValueError, match='budget 0.01.*cheapest plan takes'):
    of(0.01)
  with pytest.raises(ValueError, match='a plan or a budget'):
    trained.generate(*ASKED[0], 'max', budget=1.0)


def test_a_calibrated_router_spends_a_budget(trained):
  """Half of the questions get max: by scores, not by prompts; a drop, too."""
  calibrated = dataclasses.replace(
    trained,
    facts=dataclasses.replace(
      trained.facts,
      confidence=1.0,
      curve=(
        budget.Point(0.0, 0.5, 0.5),
        budget.Point(0.5, 0.7, 0.9),
        budget.Point(1.0, 1.1, 1.0),
      ),
    ),
  )
  asked = ASKED * 2
  of = lambda **kwargs: [
    plans.name(a.plan)
    for a in calibrated.generate(*zip(*asked), max_new_tokens=1, **kwargs)
  ]
  routed = of(budget=0.7)  # confidence .5
  assert set(routed) == {'min', 'max'} and routed[:4] == routed[4:]
  assert (
    of(plan='router@0.7') == of(drop=0.2) == of(plan='router-0.2') == routed
  )
  assert set(of(budget=0.5)) == {'min'} and set(of(budget=1.1)) == {'max'}
  assert set(of()) == set(of(drop=0)) == {'max'}
  # More money never takes a layer away.
  more = [
    of(budget=b).count('max') for b in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
  ]
  assert more == sorted(more)
  with pytest.raises(ValueError, match='budget 0.4: .* from 0.500 .* to 1.100'):
    of(budget=0.4)
  with pytest.raises(ValueError, match='a plan or a budget or a drop'):
    of(budget=0.7, drop=0.1)


# What cannot be ---------------------------------------------------------------


@pytest.mark.parametrize(
  'plan,why',
  [
    ('max', 'VISOR is untrained.*--allow-untrained'),
    ('router', 'VISOR is untrained'),
    ('0', 'VISOR is untrained'),
    ('base+base,', 'VISOR is untrained'),
  ],
)
def test_an_import_answers_as_the_base_alone(model, plan, why):
  with pytest.raises(ValueError, match=why):
    model.generate(*ASKED[0], plan)
  for target in (dict(budget=0.5), dict(drop=0.1)):
    with pytest.raises(ValueError, match='VISOR is untrained'):
      model.generate(*ASKED[0], **target)


def test_fresh_weights_are_allowed_when_asked_for(model):
  """A fresh CROSS layer adds nothing, so text alone goes in."""
  fresh = visor_jax.load(model.source, allow_untrained=True)
  got = fresh.logits(*ASKED[0], 'min')
  assert got.shape == model.logits(*ASKED[0]).shape and np.isfinite(got).all()
  with pytest.raises(ValueError, match='the router is untrained'):
    fresh.generate(*ASKED[0], 'router')
  with pytest.raises(ValueError, match='means 2 plans'):
    fresh.generate(*ASKED[0], 'min+max')


@pytest.mark.parametrize(
  'images,prompt,why',
  [
    ([], '', 'empty'),
    ([], '  \n', 'empty'),
    ([], '<image>?', 'has 1 <image> for 0 images'),
    (PICTURES[0] * 2, '<image> and?', 'has 1 <image> for 2 images'),
    ([b'GIF89a?'], 'What?', 'not an image'),
    ([], 'so long ' * 40_000, 'do not fit into 32768'),
  ],
)
def test_bad_questions_are_named(model, images, prompt, why):
  with pytest.raises(ValueError, match=why):
    model.generate(images, prompt)


# The door ---------------------------------------------------------------------


def door(*args):
  """Exit status, stdout and stderr of `python -m visor_jax.ask`."""
  found = subprocess.run(
    [sys.executable, '-m', 'visor_jax.ask', *args],
    capture_output=True,
    text=True,
    check=False,
  )
  return found.returncode, found.stdout, found.stderr


def test_ask_prints_the_answer_and_who_gave_it(model, page):
  status, out, err = door(
    '--checkpoint',
    model.source,
    '--image',
    page,
    '--prompt',
    PROMPTS[0],
    '--max-new-tokens',
    '5',
  )
  want = model.generate(*ASKED[0], max_new_tokens=5)
  assert status == 0 and out == want.text + '\n'
  assert 'plan base, the dense model' in err and 'GFLOPs' in err


def test_ask_prints_json(model, page, capsys):
  assert (
    ask.main(
      [
        '--checkpoint',
        model.source,
        '--image',
        page,
        '--prompt',
        PROMPTS[0],
        '--json',
        '--max-new-tokens',
        '5',
      ]
    )
    == 0
  )
  said = json.loads(capsys.readouterr().out)
  assert said['text'] == model.generate(*ASKED[0], max_new_tokens=5).text
  assert said['plan'] is None and said['selector'] == 'base'


@pytest.mark.parametrize(
  'args,why',
  [
    (['--plan', 'max'], 'VISOR is untrained'),
    (['--image', '/no/such.png'], 'such.png'),
    (['--checkpoint', '/no/such'], '/no/such'),
  ],
)
def test_ask_says_what_is_wrong(model, page, capsys, args, why):
  assert (
    ask.main(
      ['--checkpoint', model.source, '--image', page, '--prompt', 'Hm?', *args]
    )
    == 1
  )
  said = capsys.readouterr()
  last = said.err.splitlines()[-1]  # what comes before is progress
  assert last.startswith('error: ') and why in last and not said.out


def test_there_and_back(oracle, model, page, tmp_path, capsys):
  """Import, ask, export, ask again: the same answer."""
  there, back = str(tmp_path / 'ckpt'), str(tmp_path / 'hf')
  assert convert.main(['import', '--src', model.source, '--out', there]) == 0
  assert convert.main(['export', '--src', there, '--out', back]) == 0
  capsys.readouterr()
  said = []
  for folder in (model.source, there, back):
    assert (
      ask.main(
        [
          '--checkpoint',
          folder,
          '--image',
          page,
          '--prompt',
          PROMPTS[0],
          '--max-new-tokens',
          '9',
        ]
      )
      == 0
    )
    said.append(capsys.readouterr().out)
  assert len(set(said)) == 1 and said[0].strip()
