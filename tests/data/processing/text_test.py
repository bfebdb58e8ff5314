"""Conversations to tokens, against transformers' own tokenizer and renderer."""

import json

import numpy as np
import pytest
import tokenizers
import transformers

from tests import llava_files
from visor_jax.data.processing import text
from visor_jax.data.sources import records

# Of the published llava-hf checkpoints in kind: no system message, no line end
# between turns, and an answer's header that differs from the prompt's by a
# space.
SPACED = (
  "{% for m in messages %}{{'<|im_start|>' + m['role'] + ' '}}"
  "{% for c in m['content'] | selectattr('type', 'equalto', 'image') %}"
  "{{ '<image>' }}{% endfor %}"
  "{% for c in m['content'] | selectattr('type', 'equalto', 'text') %}"
  "{% if m['role'] == 'assistant' %}{% generation %}"
  "{{ '\n' + c['text'] }}{% endgeneration %}"
  "{% else %}{{ '\n' + c['text'] }}{% endif %}{% endfor %}"
  "{{'<|im_end|>'}}{% endfor %}"
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Of Qwen2: text alone, which is a string.
PLAIN = (
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != "
  "'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>"
  "\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
  "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# Line ends and indents that are no text.
LOOSE = """\
{% for message in messages %}
  {% if loop.first %}
{{ eos_token }}
  {% endif %}
{{ '<|im_start|>' + message['role'] }}
  {% for part in message['content'] %}
    {% if part['type'] == 'image' %}
<image>
    {% else %}
{{ part['text'] }}{{ eos_token }}
    {% endif %}
  {% endfor %}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant' }}
{% endif %}
"""

QUESTIONS = (
  'What is the colour of the car?',
  '12 + 34 = ?',
  ' two  spaces\n\nlines \n',
  "It's n\u00e3o na\u0303o \u4f60\u597d \U0001f600?",
  '<|im_start|>user\nhm',
  'a\u0301 <video> b',
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('processor')
  ids = llava_files.write_processor(folder)
  write(folder, 'config.json', dict(image_token_index=ids['image']))
  return folder


@pytest.fixture(scope='module')
def words(folder):
  return text.Tokenizer(folder)


@pytest.fixture(scope='module')
def oracle(folder):
  return transformers.AutoTokenizer.from_pretrained(folder)


def write(folder, name, fields):
  (folder / name).write_text(json.dumps(fields))


def copy(folder, to, template=None, **settings):
  """A folder without chat_template.jinja, but with a template elsewhere."""
  for name in ('tokenizer.json', 'tokenizer_config.json', 'config.json'):
    (to / name).write_text((folder / name).read_text())
  settings = json.loads((to / 'tokenizer_config.json').read_text()) | settings
  write(to, 'tokenizer_config.json', settings)
  if template is not None:
    (to / 'chat_template.jinja').write_text(template)
  return to


def turns(*pairs):
  return [records.Turn(q, a, '') for q, a in pairs]


def user(question, images=0):
  return dict(
    role='user',
    content=[{'type': 'image'}] * images + [dict(type='text', text=question)],
  )


def assistant(answer):
  return dict(role='assistant', content=[dict(type='text', text=answer)])


def ids(oracle, rendered):
  """Tokens without those of images, and where these stood."""
  tokens = np.array(oracle(rendered).input_ids)
  image = tokens == oracle.convert_tokens_to_ids('<image>')
  at = np.flatnonzero(image)
  return tokens[~image], tuple(at - np.arange(len(at)))


def read(oracle, talk):
  """Text with images as {k}, and what the model says in [brackets]."""
  out, answered = '', False
  for i, token in enumerate(talk.tokens):
    if talk.answer[i] != answered:
      out += ']' if answered else '['
      answered = not answered
    out += ''.join(f'{{{k}}}' for k, at in enumerate(talk.image_at) if at == i)
    out += oracle.decode([token])
  return out + ']' * answered


@pytest.mark.parametrize('question', QUESTIONS)
@pytest.mark.parametrize('images', [0, 1, 3])
def test_a_prompt_is_what_transformers_renders(question, images, words, oracle):
  """Images in front, where the template has them."""
  rendered = oracle.apply_chat_template(
    [user(question, images)], add_generation_prompt=True, tokenize=False
  )
  tokens, at = ids(oracle, rendered)
  talk = words.prompt(question, images)
  assert talk.tokens.tolist() == tokens.tolist() and talk.image_at == at
  assert talk.tokens.dtype == talk.prompts.dtype == np.int32
  assert talk.prompts.tolist() == [len(tokens) - 1] and not talk.answer.any()
  assert talk.answer.shape == talk.tokens.shape


@pytest.mark.parametrize('template', [SPACED, LOOSE])
@pytest.mark.parametrize('images', [0, 2])
def test_templates_render_as_in_transformers(
  template, images, folder, tmp_path
):
  copy(folder, tmp_path, template)
  oracle = transformers.AutoTokenizer.from_pretrained(tmp_path)
  tokens, at = ids(
    oracle,
    oracle.apply_chat_template(
      [user('Is it?', images)], add_generation_prompt=True, tokenize=False
    ),
  )
  talk = text.Tokenizer(tmp_path).prompt('Is it?', images)
  assert talk.tokens.tolist() == tokens.tolist() and talk.image_at == at


@pytest.mark.parametrize(
  'question',
  [
    'Which is larger, <image> or <image>?',
    'Look:<image>\n<image>',
    '<image> and <image>: which?',
    '<image><image>\n\nWhy <image>?',
  ],
)
def test_markers_in_the_text_stay_where_they_are(question, words, oracle):
  images = question.count('<image>')
  tokens, at = ids(
    oracle,
    oracle.apply_chat_template(
      [user(question)], add_generation_prompt=True, tokenize=False
    ),
  )
  talk = words.prompt(question, images)
  assert talk.tokens.tolist() == tokens.tolist() and talk.image_at == at
  assert len(set(at)) > 1 or '<image><image>' in question


@pytest.mark.parametrize('template', [llava_files.TEMPLATE, SPACED, PLAIN])
def test_markers_in_front_are_no_markers(template, folder, tmp_path):
  """Training data opens with '<image>\\n' what a benchmark asks without."""
  words = text.Tokenizer(copy(folder, tmp_path, template))
  for question, images in (('<image>\nWhy?', 1), ('<image><image> Why?', 2)):
    a, b = words.prompt(question, images), words.prompt('Why?', images)
    assert a.tokens.tolist() == b.tokens.tolist()
    assert a.image_at == b.image_at and len(a.image_at) == images


def test_a_family_may_write_an_image_its_own_way(words, folder, tmp_path):
  template = llava_files.TEMPLATE.replace('<image>', '<|see|><|end|>')
  assert template != llava_files.TEMPLATE
  other = text.Tokenizer(copy(folder, tmp_path, template), '<|see|><|end|>')
  for question, images in (('Why?', 2), ('Is <image> as <image>?', 2)):
    a, b = words.prompt(question, images), other.prompt(question, images)
    assert a.tokens.tolist() == b.tokens.tolist() and a.image_at == b.image_at


def system(text):
  return dict(role='system', content=[dict(type='text', text=text)])


def test_what_the_system_says_is_what_transformers_renders(words, oracle):
  """In training and where the question is asked alone."""
  first = records.Turn('Is it red?', 'Yes', '', 'Be brief.')
  for images in (0, 1):
    tokens, at = ids(
      oracle,
      oracle.apply_chat_template(
        [system('Be brief.'), user('Is it red?', images)],
        add_generation_prompt=True,
        tokenize=False,
      ),
    )
    asked = words.prompt('Is it red?', images, 'Be brief.')
    assert asked.tokens.tolist() == tokens.tolist() and asked.image_at == at
    talk = words.conversation([first], images)
    assert talk.tokens[: len(tokens)].tolist() == tokens.tolist()
    assert talk.image_at == at and not talk.answer[: len(tokens)].any()


def test_the_system_may_speak_again(words, oracle):
  talk = words.conversation(
    [
      records.Turn('A?', 'b', '', 'Be brief.'),
      records.Turn('C?', 'd', ''),
      records.Turn('<image>\nE?', 'F', '', 'Shout.'),
    ],
    1,
  )
  assert read(oracle, talk) == (
    '<|im_start|>system\nBe brief.<|im_end|>\n'
    '<|im_start|>user\nA?<|im_end|>\n'
    '<|im_start|>assistant\n[b<|im_end|>]\n'
    '<|im_start|>user\nC?<|im_end|>\n'
    '<|im_start|>assistant\n[d<|im_end|>]\n'
    '<|im_start|>system\nShout.<|im_end|>\n'
    '<|im_start|>user\n{0}\nE?<|im_end|>\n'
    '<|im_start|>assistant\n[F<|im_end|>]'
  )


# A template that takes a list of the user, and of the system a string.
MIXED = (
  "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n'}}"
  "{% if m['role'] == 'system' %}{{ m['content'] }}{% else %}"
  "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
  "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}"
  "{{'<|im_end|>'}}{% endfor %}"
)


@pytest.mark.parametrize(
  'template', [llava_files.TEMPLATE, SPACED, PLAIN, MIXED]
)
def test_every_template_says_what_the_system_says(
  template, folder, tmp_path, oracle
):
  words = text.Tokenizer(copy(folder, tmp_path, template))
  talk = words.prompt('Why?', 1, 'Be brief.')
  shown = read(oracle, talk)
  assert shown.count('Be brief.<|im_end|>') == 1 and "'" not in shown
  assert 'helpful' not in shown and len(talk.image_at) == 1


@pytest.mark.parametrize(
  'start, message',
  [
    ('{% set messages = messages[-1:] %}', 'has no place for what the system'),
    (
      "{% if messages[0]['role'] == 'system' %}"
      "{{ raise_exception('System role not supported') }}{% endif %}",
      'says: System role not supported',
    ),
  ],
)
def test_a_template_without_a_system_refuses_it(
  start, message, folder, tmp_path
):
  """Its answers would obey what nobody has said."""
  words = text.Tokenizer(copy(folder, tmp_path, start + SPACED))
  words.prompt('Why?', 1)
  with pytest.raises(ValueError, match=message):
    words.prompt('Why?', 1, 'Be brief.')
  with pytest.raises(ValueError, match=message):
    words.conversation([records.Turn('Why?', 'So.', '', 'Be brief.')], 1)


def test_a_conversation_by_eye(words, oracle):
  """The model says answers and the ends of its turns, nothing else."""
  talk = words.conversation(
    turns(('<image>\nIs it red?', 'Yes'), ('And <image> this?', ' No. \n')), 2
  )
  assert read(oracle, talk) == (
    '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n'
    '<|im_start|>user\n{0}\nIs it red?<|im_end|>\n'
    '<|im_start|>assistant\n[Yes<|im_end|>]\n'
    '<|im_start|>user\nAnd {1} this?<|im_end|>\n'
    '<|im_start|>assistant\n[No.<|im_end|>]'
  )
  for end in talk.prompts:
    assert not talk.answer[end] and talk.answer[end + 1]
  assert len(talk.prompts) == 2


def test_an_image_may_come_with_a_later_question(words, oracle):
  talk = words.conversation(turns(('A?', 'b'), ('<image> C?', 'd')), 1)
  assert '[b<|im_end|>]\n<|im_start|>user\n{0}\nC?<' in read(oracle, talk)


@pytest.mark.parametrize('images', [0, 1, 2])
def test_a_conversation_is_what_transformers_renders(images, words, oracle):
  """Tokens, and the mask that the template marks for training."""
  pairs = [(q, f'It is {i}.\n\n<video> ok') for i, q in enumerate(QUESTIONS)]
  messages = []
  for i, (question, answer) in enumerate(pairs):
    messages += [user(question, 0 if i else images), assistant(answer)]
  expected = oracle.apply_chat_template(
    messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
  )
  tokens, mask = (
    np.array(expected['input_ids']),
    np.array(expected['assistant_masks']),
  )
  is_word = tokens != oracle.convert_tokens_to_ids('<image>')
  last = np.flatnonzero(tokens == words.end)[-1]  # a line end follows
  talk = words.conversation(turns(*pairs), images)
  assert (
    talk.tokens.tolist() == tokens[: last + 1][is_word[: last + 1]].tolist()
  )
  assert talk.answer.tolist() == mask[: last + 1][is_word[: last + 1]].tolist()
  assert len(talk.image_at) == images and len(talk.prompts) == len(pairs)


@pytest.mark.parametrize('template', [llava_files.TEMPLATE, SPACED, PLAIN])
def test_what_is_trained_is_what_is_asked(template, folder, tmp_path):
  """A prompt in training is the same tokens as the prompt of a benchmark."""
  words = text.Tokenizer(copy(folder, tmp_path, template))
  trained = words.conversation(turns(('Is it red?', 'Yes'), ('And?', 'No')), 1)
  asked = words.prompt('Is it red?', 1)
  n = len(asked.tokens)
  assert trained.tokens[:n].tolist() == asked.tokens.tolist()
  assert trained.image_at == asked.image_at
  assert trained.prompts[0] == asked.prompts[0] == n - 1
  yes = words.decode(trained.tokens[n:])
  assert yes == 'Yes' and words.decode(trained.tokens[:1]) == ''
  assert trained.answer.sum() == 2 + sum(
    len(words._encoder.encode(answer)) for answer in ('Yes', 'No')
  )


def test_a_template_that_spaces_its_answers(folder, tmp_path, oracle):
  words = text.Tokenizer(copy(folder, tmp_path, SPACED))
  talk = words.conversation(turns(('Red?', 'Yes'), ('And?', 'No')), 1)
  assert read(oracle, talk) == (
    '<|im_start|>user {0}\nRed?<|im_end|><|im_start|>assistant\n'
    '[Yes<|im_end|>]<|im_start|>user \nAnd?<|im_end|>'
    '<|im_start|>assistant\n[No<|im_end|>]'
  )


@pytest.mark.parametrize(
  'where',
  [
    'chat_template.json',
    'processor_config.json',
    'tokenizer_config.json',
    'named',
    'chat_template.jinja',
  ],
)
def test_a_template_is_found_wherever_it_is(where, folder, tmp_path, words):
  template = llava_files.TEMPLATE
  if where == 'tokenizer_config.json':
    copy(folder, tmp_path, chat_template=template)
  elif where == 'named':
    copy(
      folder,
      tmp_path,
      chat_template=[
        dict(name='rag', template='no'),
        dict(name='default', template=template),
      ],
    )
  elif where == 'chat_template.jinja':
    copy(folder, tmp_path, template, chat_template='this one is asked last')
  else:
    copy(folder, tmp_path, 'transformers looks here later')
    write(tmp_path, where, dict(chat_template=template))
  got = text.Tokenizer(tmp_path).prompt('Why?', 1)
  assert got.tokens.tolist() == words.prompt('Why?', 1).tokens.tolist()


def test_decode_ends_with_the_turn(words, oracle):
  encode = lambda s: oracle(s).input_ids
  for answer in (*QUESTIONS, '', '\u00e9 <|endoftext|> <image> x'):
    tokens = encode(answer)
    assert (
      words.decode(np.array(tokens, np.int32))
      == oracle.batch_decode([tokens], skip_special_tokens=True)[0]
    )
    assert words.decode(tokens + encode('<|im_end|>no')) == words.decode(tokens)
  assert words.decode(encode('<|im_end|>no')) == ''


def test_decode_of_a_token_without_a_word(words, oracle):
  """Vocabularies are padded; an untrained model may say such a token."""
  tokens = [*oracle('a b').input_ids, 399, *oracle('c').input_ids]
  assert words.decode(tokens) == 'a bc' == oracle.batch_decode([tokens])[0]


def test_special_tokens_come_from_the_files(tmp_path):
  ids = llava_files.write_processor(tmp_path)
  got = text.Tokenizer(tmp_path)
  assert (got.end, got.pad, got.stops) == (ids['end'], ids['pad'], {ids['end']})


@pytest.mark.parametrize(
  'name,fields',
  [
    ('generation_config.json', dict(eos_token_id=[360, 362])),
    ('config.json', dict(eos_token_id=362)),
    ('config.json', dict(text_config=dict(eos_token_id=362))),
  ],
)
def test_the_end_is_the_one_that_the_template_writes(
  name, fields, folder, tmp_path
):
  """A base's tokenizer says <|endoftext|>; Qwen2-Instruct stops at both."""
  copy(
    folder,
    tmp_path,
    '<|endoftext|>' + llava_files.TEMPLATE,
    eos_token=dict(content='<|endoftext|>', lstrip=False),
  )
  write(tmp_path, name, fields)
  got = text.Tokenizer(tmp_path)
  assert got.end == 362 and got.stops == {360, 362} and got.pad == 360
  for stop in (360, 362):
    assert got.decode([70, stop, 71]) == got.decode([70]) != ''
  talk = got.conversation(turns(('A?', 'b')), 0)
  assert talk.tokens[talk.answer].tolist()[-1] == 362


def test_what_a_tokenizer_adds_is_left_out(folder, tmp_path, words):
  """Truncation and padding of its training, and a first token: the template
  writes its own."""
  copy(folder, tmp_path, llava_files.TEMPLATE)
  tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / 'tokenizer.json'))
  tokenizer.enable_truncation(4)
  tokenizer.enable_padding(length=99)
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
    single='<|endoftext|> $A', special_tokens=[('<|endoftext|>', words.pad)]
  )
  tokenizer.save(str(tmp_path / 'tokenizer.json'))
  got = text.Tokenizer(tmp_path).prompt('Why?', 1)
  assert got.tokens.tolist() == words.prompt('Why?', 1).tokens.tolist()


@pytest.mark.parametrize(
  'question,images,message',
  [
    ('', 1, 'question "" is empty'),
    (' \n', 1, 'is empty'),
    ('<image>\n', 1, 'is empty'),
    ('a <image> b', 2, 'has 1 <image> for 2 images'),
    ('<image> b', 0, 'has 1 <image> for 0 images'),
    ('<image>\n<image>\nb', 1, 'has 2 <image> for 1 images'),
  ],
)
def test_a_wrong_prompt_is_an_error(question, images, message, words):
  with pytest.raises(ValueError, match=message):
    words.prompt(question, images)


@pytest.mark.parametrize(
  'pairs,images,message',
  [
    ([('a', ' ')], 1, 'answer to "a" is empty'),
    ([('a', 'b'), ('', 'c')], 1, 'question "" is empty'),
    ([('<image>\na', 'b'), ('c', 'd')], 2, 'has 1 <image> for 2 images'),
    ([('a', 'b'), ('c', '<image>')], 0, 'has 1 <image> for 0 images'),
  ],
)
def test_a_wrong_conversation_is_an_error(pairs, images, message, words):
  with pytest.raises(ValueError, match=message):
    words.conversation(turns(*pairs), images)


@pytest.mark.parametrize(
  'template,message',
  [
    (None, 'no chat template in'),
    ("{{ raise_exception('roles!') }}", 'the chat template says: roles!'),
    (
      '{% for m in messages %}{{ m.content[0].text }}{% endfor %}',
      'none of the eos tokens',
    ),
    ('{{ [].append(1) }}', 'immutable|unsafe'),
  ],
)
def test_a_wrong_template_is_an_error(template, message, folder, tmp_path):
  with pytest.raises(Exception, match=message):
    text.Tokenizer(copy(folder, tmp_path, template))


def test_a_template_that_rewrites_the_past_is_an_error(folder, tmp_path):
  """The mask would say that the model wrote what it did not."""
  words = text.Tokenizer(
    copy(folder, tmp_path, '{{ messages | length }}' + SPACED)
  )
  with pytest.raises(ValueError, match='rewrites earlier turns'):
    words.conversation(turns(('a', 'b'), ('c', 'd')), 1)


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError, match='tokenizer.json'):
    text.Tokenizer(tmp_path)
