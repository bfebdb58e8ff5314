"""Plan base is LLaVA-OneVision: transformers is asked the same.

Here a draw of cases; `pytest -m drill` asks 200 and prints what came out.
"""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import transformers

from tests import agreement
from tests import llava
from tests import questions
import visor_jax


@pytest.fixture(scope='module')
def oracle(tmp_path_factory):
  return llava.Oracle(tmp_path_factory.mktemp('llava') / 'hf', tied=False)


@pytest.fixture(scope='module')
def model(oracle):
  return visor_jax.load(oracle.folder)


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
        for s in agreement.sizes(rng, [1, 1, 0, rng.integers(2, 5)][i])
      ]
      prompt = str(rng.choice(questions.PROMPTS))
      if i == 3 and rng.random() < 0.5:
        prompt = ' then '.join(['<image>'] * len(images)) + prompt
      asked.append((images, prompt))
    yield kwargs, asked


def check_case(folder, kwargs, asked):
  oracle = llava.Oracle(folder, **kwargs)
  model = visor_jax.load(folder)
  jax.clear_caches()  # every case is a program of its own
  return agreement.worst(model, oracle, asked)


@pytest.mark.parametrize('number', range(3))
def test_logits_are_transformers(number, tmp_path):
  """Of random shapes, image sizes and numbers of images, in one batch."""
  *_, case = cases(1, number + 1)
  assert check_case(tmp_path / 'hf', *case) < 1e-4


@pytest.mark.drill
def test_agreement_in_bfloat16(tmp_path):
  """How far both are from float32, and how often they say the same."""
  oracle = llava.Oracle(tmp_path / 'hf')
  asked = [case for _, group in cases(3, 5) for case in group]
  exact = [oracle.logits(*case) for case in asked]
  ours = visor_jax.load(tmp_path / 'hf', dtype='bfloat16').logits(*zip(*asked))
  oracle.model = oracle.model.bfloat16()
  theirs = [oracle.logits(*case) for case in asked]
  for name, logits in (('ours', ours), ('theirs', theirs)):
    off = np.concatenate([np.abs(a - b).ravel() for a, b in zip(logits, exact)])
    same = np.concatenate(
      [a.argmax(-1) == b.argmax(-1) for a, b in zip(logits, exact)]
    )
    print(
      f'{name} in bfloat16: off by {off.mean():.3f} on average, at most '
      f'{off.max():.2f}, of logits up to {max(map(np.max, exact)):.1f}; '
      f'the likeliest token is the same in {same.mean():.1%}'
    )


@pytest.mark.drill
def test_logits_are_transformers_200_times(tmp_path):
  errors = []
  for number, case in enumerate(cases(2, 50)):
    errors.append(check_case(tmp_path / str(number), *case))
    print(number, case[0], f'{errors[-1]:.1e}', flush=True)
  print(f'{4 * len(errors)} cases, worst {max(errors):.1e}')
  assert max(errors) < 1e-4


def test_greedy_text_is_transformers(oracle, model):
  close, different = agreement.same_text(model, oracle, questions.ASKED)
  assert close < 4 and max(different) > 9  # or this would prove little


def test_the_rules_of_a_checkpoint_act_as_in_transformers(
  oracle, tmp_path, monkeypatch
):
  """Of generation_config.json; on prompts with images and of any length."""
  shutil.copytree(oracle.folder, tmp_path / 'hf')
  rules = dict(
    repetition_penalty=1.3,
    no_repeat_ngram_size=2,
    min_new_tokens=20,
    suppress_tokens=[5, 17],
    bad_words_ids=[[40], [41, 42]],
  )
  path = tmp_path / 'hf' / 'generation_config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | rules))
  ruled = visor_jax.load(tmp_path / 'hf')
  answers = ruled.generate(*zip(*questions.ASKED), max_new_tokens=24)
  free = visor_jax.load(oracle.folder).generate(
    *zip(*questions.ASKED), max_new_tokens=24
  )
  monkeypatch.setattr(
    oracle.model,
    'generation_config',
    transformers.GenerationConfig.from_pretrained(tmp_path / 'hf'),
  )
  for (images, prompt), got, other in zip(questions.ASKED, answers, free):
    tokens, _ = oracle.generate(images, prompt, 24)
    want = oracle.tokenizer.decode(tokens, skip_special_tokens=True)
    assert got.text == want != other.text


@pytest.mark.drill
def test_greedy_text_is_transformers_40_times(tmp_path):
  close, different = 0, []
  for number, (kwargs, asked) in enumerate(cases(4, 10)):
    oracle = llava.Oracle(tmp_path / str(number), **kwargs | dict(tied=False))
    jax.clear_caches()
    ours = agreement.same_text(visor_jax.load(oracle.folder), oracle, asked)
    close, different = close + ours[0], different + ours[1]
  print(
    f'{len(different)} texts, {np.median(different):.0f} different tokens '
    f'in the median; too close to call: {close}'
  )


def test_a_batch_answers_as_each_alone(model):
  together = model.generate(*zip(*questions.ASKED), max_new_tokens=9)
  for (images, prompt), got in zip(questions.ASKED, together):
    alone = model.generate(images, prompt, max_new_tokens=9)
    assert dataclasses.replace(alone, seconds=0) == (
      dataclasses.replace(got, seconds=0)
    )


def test_one_image_needs_no_list(model, tmp_path):
  page = str(tmp_path / 'page.png')
  questions.PICTURES[0][0].save(page)
  one = model.logits(page, questions.PROMPTS[0])
  np.testing.assert_array_equal(one, model.logits([page], questions.PROMPTS[0]))


def test_an_answer_states_its_cost(model):
  got = model.generate(*questions.ASKED[0], max_new_tokens=3)
  assert (got.selector, got.plan, got.flops_saved) == ('base', None, 1)
  ((visual, text),) = model.asked.pack(
    [questions.ASKED[0][0]], [questions.ASKED[0][1]], 0
  ).lengths
  assert (got.visual_tokens, got.text_tokens) == (visual, text)
  language = model.model.size.language
  values_of_token = 2 * language.key_heads * language.head_width
  assert got.cache_bytes == (
    (visual + text) * values_of_token * 4 * language.depth
  )


def test_sampling_is_a_function_of_the_seed(model):
  def ask_(seed):
    draw = dict(temperature=2.0, top_p=0.9, seed=seed)
    return model.generate(*questions.ASKED[0], max_new_tokens=12, **draw).text

  assert ask_(1) == ask_(1) and len({ask_(s) for s in range(4)}) > 1


@pytest.mark.parametrize(
  'images,prompt,why',
  [
    ([], '', 'empty'),
    ([], '  \n', 'empty'),
    ([], '<image>?', 'has 1 <image> for 0 images'),
    (questions.PICTURES[0] * 2, '<image> and?', 'has 1 <image> for 2 images'),
    ([b'GIF89a?'], 'What?', 'not an image'),
    ([], 'so long ' * 40_000, 'do not fit into 32768'),
  ],
)
def test_bad_questions_are_named(model, images, prompt, why):
  with pytest.raises(ValueError, match=why):
    model.generate(images, prompt)
