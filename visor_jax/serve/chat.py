"""OpenAI's chat completions: what is asked, and what is replied.

https://platform.openai.com/docs/api-reference/chat. Beside its fields a request
may have `plan`, `budget` (and `budget_of`) or `drop`, see Model.generate; a
reply has `visor`.
"""

import base64
import binascii
import dataclasses
import re
from typing import Any

from visor_jax.eval import answer as answer_lib
from visor_jax.runtime import json_fields
from visor_jax.serve import limits as limits_lib
from visor_jax.spec import plan as plans

_MARKER = '<image>'
_DATA = re.compile(r'data:image/[\w.+-]+;base64,', re.ASCII)
# Fields that would change an answer, and the only values that ours has.
_ONLY: dict[str, tuple[Any, ...]] = dict(
  n=(1,),
  stop=([], ''),
  logprobs=(False,),
  top_logprobs=(0,),
  presence_penalty=(0,),
  frequency_penalty=(0,),
  logit_bias=({},),
  tools=([],),
  tool_choice=('none', 'auto'),
  response_format=({'type': 'text'},),
  modalities=(['text'],),
)
# And those that change none.
_IDLE = ('user', 'metadata', 'store', 'safety_identifier', 'service_tier')
_FIELDS = (
  'model',
  'messages',
  'max_tokens',
  'max_completion_tokens',
  'temperature',
  'top_p',
  'seed',
  'stream',
  'stream_options',
  'plan',
  'budget',
  'budget_of',
  'drop',
  'attention',
)


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
  """A request, read.

  Attributes:
    images: encoded files, in order.
    text: the question, with a marker for each image.
    options: of Reading.ask.
    stream: whether the answer is sent as it comes.
    usage: whether a stream ends with its tokens.
    attention: whether the reply says where the text looked.
  """

  images: tuple[bytes, ...]
  text: str
  options: answer_lib.Options
  stream: bool = False
  usage: bool = False
  attention: bool = False


def read(
  values: Any, limits: limits_lib.Limits, defaults: answer_lib.Options
) -> Asked:
  """What a request asks.

  Args:
    values: its JSON.
    limits: of the server.
    defaults: plan, budget or drop, where a request says none.

  Raises:
    ValueError: a field is not known, or of another type than expected.
  """
  if not isinstance(values, dict):
    raise ValueError('the body is no JSON object')
  fields = json_fields.Fields(values, '')
  unknown = sorted(values.keys() - {*_FIELDS, *_IDLE, *_ONLY})
  if unknown:
    raise ValueError(f'{unknown[0]}: not known; known are {", ".join(_FIELDS)}')
  for name, only in _ONLY.items():
    if fields.has(name) and values[name] not in only:
      raise ValueError(f'{name}: only {only[0]!r} is done here')
  images: list[bytes] = []
  system, turns = _turns(values.get('messages'), images)
  if len(images) > limits.images:
    raise ValueError(f'{len(images)} images; at most {limits.images} are taken')
  options: answer_lib.Options = dict(
    max_new_tokens=_new_tokens(fields, limits),
    temperature=fields.number('temperature', 0.0),
    top_p=fields.number('top_p', 1.0),
    seed=fields.integer('seed', 0, least=0, most=(1 << 31) - 1),
    history=turns[:-1],
    system=system,
  )
  stream_options = fields.fields('stream_options')
  text = turns[-1][0]
  if len(turns) == 1:  # where images stand that nobody places
    text = text.removeprefix(f'{_MARKER}\n' * len(images))
  return Asked(
    images=tuple(images),
    text=text,
    options=options | (_selection(fields) or defaults),
    stream=fields.flag('stream', False),
    usage=stream_options.flag('include_usage', False),
    attention=fields.flag('attention', False),
  )


def _selection(fields: json_fields.Fields) -> answer_lib.Options:
  """Plan, budget or drop, if one is there."""
  selection: answer_lib.Options = {}
  if fields.has('plan'):
    selection['plan'] = fields.text('plan')
  if fields.has('budget'):
    selection['budget'] = fields.number('budget')
  if fields.has('budget_of'):
    selection['budget_of'] = fields.text('budget_of')
  if fields.has('drop'):
    selection['drop'] = fields.number('drop')
  return selection


def _new_tokens(fields: json_fields.Fields, limits: limits_lib.Limits) -> int:
  newer, older = 'max_completion_tokens', 'max_tokens'
  name = newer if fields.has(newer) else older
  most = limits.most_new_tokens
  return fields.integer(name, min(limits.new_tokens, most), most=most)


def _turns(
  messages: Any, images: list[bytes]
) -> tuple[str, list[tuple[str, str]]]:
  """What the system says, and questions with answers; the last has none."""
  if not isinstance(messages, list) or not messages:
    raise ValueError('messages: expected a list with a question')
  system, turns, expected = '', list[tuple[str, str]](), 'user'
  for number, message in enumerate(messages):
    where = f'messages[{number}]'
    if not isinstance(message, dict):
      raise ValueError(f'{where}: expected an object')
    role = message.get('role')
    text = _content(message.get('content'), f'{where}.content', role, images)
    if role in ('system', 'developer') and number == 0:
      system = text
    elif role != expected:
      raise ValueError(f'{where}.role is {role!r}, expected {expected!r}')
    elif role == 'user':
      turns.append((text, ''))
      expected = 'assistant'
    else:
      turns[-1] = turns[-1][0], text
      expected = 'user'
  if expected == 'user':
    raise ValueError('messages: the last one is not a question of the user')
  return system, turns


def _content(content: Any, where: str, role: Any, images: list[bytes]) -> str:
  """The text of a message, a marker for each image; those go to `images`."""
  parts = content
  if isinstance(content, str):
    parts = [dict(type='text', text=content)]
  if not isinstance(parts, list):
    raise ValueError(f'{where}: expected a text or a list of parts')
  text = ''
  for number, part in enumerate(parts):
    at = f'{where}[{number}]'
    if not isinstance(part, dict):
      raise ValueError(f'{at}: expected an object')
    kind, words = part.get('type'), part.get('text')
    if kind == 'text' and isinstance(words, str):
      if _MARKER in words:
        raise ValueError(f'{at}: "{_MARKER}" stands for an image, send one')
      text += words
    elif kind == 'image_url' and role == 'user':
      images.append(_image(part.get('image_url'), f'{at}.image_url'))
      text += f'{_MARKER}\n'
    else:
      raise ValueError(f'{at}: expected a text, or of the user an image_url')
  return text


def _image(image: Any, where: str) -> bytes:
  """The file in a data URL; nothing is fetched."""
  url = image.get('url') if isinstance(image, dict) else image
  match = _DATA.match(url) if isinstance(url, str) else None
  if not match or not isinstance(url, str):
    raise ValueError(f'{where}: expected data:image/...;base64,...')
  try:
    return base64.b64decode(url[match.end() :], validate=True)
  except (binascii.Error, ValueError):
    raise ValueError(f'{where}: this is no base64') from None


def costs(answer: answer_lib.Answer) -> dict[str, Any]:
  """`visor` of a reply."""
  plan = 'base' if answer.plan is None else plans.name(answer.plan)
  return dict(
    plan=plan,
    selector=answer.selector,
    total_flops=answer.total_flops,
    total_saved=round(answer.total_saved, 3),
    flops_saved=round(answer.flops_saved, 3),
    llm_prefill_flops=answer.llm_prefill_flops,
    ran_prefill_flops=answer.ran_prefill_flops,
    ran_vision_flops=answer.ran_vision_flops,
    cache_bytes=answer.cache_bytes,
    seconds=round(answer.seconds, 4),
  )


def usage(answer: answer_lib.Answer) -> dict[str, int]:
  """Tokens of a reply; those of images count."""
  prompt = answer.visual_tokens + answer.text_tokens
  return dict(
    prompt_tokens=prompt,
    completion_tokens=answer.tokens,
    total_tokens=prompt + answer.tokens,
  )
