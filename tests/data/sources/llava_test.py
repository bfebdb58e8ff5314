"""LLaVA's fields to records, and what is wrong with those of the wild."""

import base64

import pytest

from tests.data.sources import encoded
from visor_jax.data.sources import image_paths
from visor_jax.data.sources import llava
from visor_jax.data.sources import records
from visor_jax.runtime import regular_files
from visor_jax.runtime import retry

JPEG, SIDES, reason = encoded.JPEG, encoded.SIDES, encoded.reason
FIELDS = dict(
  id='a',
  image='a.jpg',
  conversations=[
    {'from': 'human', 'value': '<image>\nWhy?'},
    {'from': 'gpt', 'value': 'So.'},
  ],
)


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'a.jpg').write_bytes(JPEG)
  (tmp_path / 'cut.jpg').write_bytes(JPEG[:-100])
  (tmp_path / 'text.jpg').write_bytes(b'not an image')
  (tmp_path / 'empty.jpg').write_bytes(b'')
  (tmp_path / 'folder.jpg').mkdir()
  return tmp_path


@pytest.mark.parametrize(
  'change,why',
  [
    ({}, None),
    (dict(image=['a.jpg']), None),
    (dict(image=dict(bytes=JPEG, path=None)), None),
    (dict(image=None, images=[dict(bytes=None, path='a.jpg')]), None),
    (dict(image=JPEG), None),
    (dict(image='b.jpg'), 'missing image'),
    (dict(image='folder.jpg'), 'special file'),
    (dict(image='a.jpg/b.jpg'), 'missing image'),
    (dict(image='x' * 300), 'missing image'),
    (dict(image='a\0.jpg'), 'missing image'),
    (dict(image=[None]), 'missing image'),
    (dict(image=3), 'missing image'),
    (dict(image=''), 'missing image'),
    (dict(image=dict(bytes=None, path=None)), 'missing image'),
    (dict(image='cut.jpg'), 'broken image'),
    (dict(image='text.jpg'), 'broken image'),
    (dict(image='empty.jpg'), 'broken image'),
    (dict(image=['a.jpg', 'a.jpg']), 'marker count'),
    (dict(image=None), 'marker count'),
    (dict(conversations=None), 'no turns'),
    (dict(conversations=[]), 'no turns'),
    (dict(conversations=[{'from': 'system', 'value': 'x'}]), 'no turns'),
    (dict(conversations='Why?'), 'bad json'),
    (dict(conversations=3), 'bad json'),
    (dict(conversations=[{'role': 'user'}]), 'bad json'),
    (dict(conversations=FIELDS['conversations'][:1]), 'bad turns'),
    (dict(conversations=FIELDS['conversations'][::-1]), 'bad turns'),
    (dict(conversations=[{'from': 'human', 'value': 'a'}] * 2), 'bad turns'),
    (
      dict(
        conversations=[
          {'from': 'human', 'value': 'a'},
          {'from': 'gpt', 'value': 3},
        ]
      ),
      'bad text',
    ),
  ],
)
def test_what_is_bad_in_the_wild_has_a_reason(change, why, folder):

  def build():
    return llava.parse(FIELDS | change, 'x/0', image_paths.Folder(folder), '')

  assert reason(build) == why
  if why:
    with pytest.raises(records.BadRecord, match=f'^a: {why}'):
      build()


def parse(fields, folder=None):
  return llava.parse(fields, 'train/7', image_paths.Folder(folder), 'train')


def message(role, text, names=('from', 'value')):
  return dict(zip(names, (role, text)))


def turns(*messages, **fields):
  record = parse(dict(conversations=list(messages), **fields))
  return [(t.system, t.question, t.answer) for t in record.turns]


def test_llava_fields_become_a_record(folder):
  """A record without id has its place's name."""
  fields = dict(FIELDS)
  del fields['id']
  assert parse(fields, folder) == records.Record(
    'train/7',
    (JPEG,),
    (SIDES[::-1],),
    (records.Turn('<image>\nWhy?', 'So.', 'train'),),
  )
  for given, id in ((12, '12'), ('\ud83d', '\\ud83d'), (0, '0')):
    fields['id'] = given
    assert parse(fields, folder).id == id


# What the system says --------------------------------------------------------


def test_what_the_system_says_stays_before_its_question():
  """The answers obey it."""
  assert turns(
    message('system', 'Be brief.'),
    message('system', 'Be kind.'),
    message('human', 'a'),
    message('gpt', 'b'),
    message('human', 'c'),
    message('gpt', 'd'),
    message('system', 'Shout.'),
    message('human', 'e'),
    message('gpt', 'F'),
  ) == [
    ('Be brief.\n\nBe kind.', 'a', 'b'),
    ('', 'c', 'd'),
    ('Shout.', 'e', 'F'),
  ]


def test_the_system_may_have_a_field_of_its_own():
  talk = message('human', 'a'), message('gpt', 'b')
  assert turns(*talk, system='Be brief.') == [('Be brief.', 'a', 'b')]
  assert (
    turns(*talk, system=None) == turns(*talk, system=' ') == ([('', 'a', 'b')])
  )


@pytest.mark.parametrize(
  'roles', ['human system gpt', 'human gpt system', 'human gpt human']
)
def test_a_system_that_speaks_out_of_turn_is_a_bad_turn(roles):
  with pytest.raises(
    records.BadRecord, match='bad turns: .*expected user'
  ) as e:
    turns(*(message(role, 'x') for role in roles.split()))
  assert e.value.reason == 'bad turns'


# Other spellings -------------------------------------------------------------


def messages(*contents, image=None, **fields):
  """A record of OpenAI's spelling: users and assistants take turns."""
  names = ('role', 'content')
  return dict(
    messages=[
      message(role, content, names)
      for role, content in zip(['user', 'assistant'] * len(contents), contents)
    ],
    image=image,
    **fields,
  )


@pytest.mark.parametrize(
  'fields',
  [
    dict(conversations=[message('human', 'a'), message('gpt', 'b')]),
    dict(conversations=[message('user', 'a'), message('assistant', 'b')]),
    dict(conversations=messages('a', 'b')['messages']),
    messages('a', 'b'),
    messages([dict(type='text', text='a')], ['b']),
    dict(messages=None, conversations=messages('a', 'b')['messages']),
  ],
)
def test_a_conversation_may_be_spelt_in_several_ways(fields):
  assert parse(fields).turns == (records.Turn('a', 'b', 'train'),)


URL = 'data:image/jpeg;base64,' + base64.b64encode(JPEG).decode()
WHY = dict(type='text', text='Why?')


@pytest.mark.parametrize(
  'image',
  [
    dict(type='image_url', image_url=dict(url=URL)),
    dict(type='image_url', image_url=dict(url='a.jpg', detail='low')),
    dict(type='image_url', image_url='a.jpg'),
    dict(type='input_image', image_url='a.jpg'),
    dict(type='image', image='a.jpg'),
    dict(type='image', image=dict(bytes=JPEG, path=None)),
    dict(type='image', path='a.jpg'),
  ],
)
def test_a_content_may_hold_images(image, folder):
  record = parse(messages([image, WHY], 'So.'), folder)
  assert record.images == (JPEG,)
  assert record.turns[0].question == '<image>Why?'


def test_a_file_url_is_a_path(folder):
  url = f'file://{folder}/a.jpg'
  record = parse(
    messages([dict(type='image_url', image_url=url), WHY], 'b'), folder
  )
  assert record.images == (JPEG,)


def test_images_stand_where_their_parts_do(folder):
  image = dict(type='image', image='a.jpg')
  parts = [
    dict(type='text', text='Is '),
    image,
    dict(type='text', text=' like '),
  ]
  record = parse(messages([*parts, image, '?'], 'So.'), folder)
  assert record.turns[0].question == 'Is <image> like <image>?'
  assert len(record.images) == 2


def test_a_part_without_a_file_marks_that_of_the_record(folder):
  record = parse(
    messages([dict(type='image'), WHY], 'So.', image='a.jpg'), folder
  )
  assert record.images == (JPEG,) and record.turns[0].question == '<image>Why?'


@pytest.mark.parametrize(
  'fields, why, detail',
  [
    (3, 'bad json', 'int, not an object'),
    (None, 'bad json', 'NoneType, not an object'),
    (
      dict(text='a'),
      'no turns',
      'neither conversations nor messages, only text',
    ),
    (
      dict(conversations=[message('human', 'a')], messages=[]),
      'bad json',
      'both conversations and messages',
    ),
    (dict(conversations={}), 'bad json', 'conversations: dict, not a list'),
    (
      dict(conversations=['a']),
      'bad json',
      'conversations: str, not an object',
    ),
    (dict(conversations=[dict(text='a')]), 'bad json', 'neither from nor role'),
    (dict(messages=[dict(role='user')]), 'bad json', 'user says nothing'),
    (messages('a', 3), 'bad text', 'of assistant: int, not a string'),
    (messages([dict(type='text')], 'b'), 'bad text', 'without a text'),
    (
      dict(messages=[dict(role='user', content='a', tool_calls=[{}])]),
      'unknown role',
      'user has tool_calls',
    ),
    (
      dict(
        messages=[
          dict(role='user', content='a'),
          dict(role='assistant', content='b', weight=0),
        ]
      ),
      'bad turns',
      'assistant has weight 0',
    ),
    (
      dict(conversations=[message('human', 'a'), message('bing', 'b')]),
      'unknown role',
      "'bing'; expected one of human, user, gpt, assistant, system",
    ),
    (dict(messages=[dict(role='tool', content='3')]), 'unknown role', "'tool'"),
    (dict(messages=[dict(role=['a'], content='3')]), 'unknown role', "['a']"),
    (
      messages([dict(type='image_url', image_url='http://x/a.jpg'), WHY], 'b'),
      'missing image',
      'http://x/a.jpg is not on this disk',
    ),
    (
      messages(
        [dict(type='image_url', image_url='data:image/png;x'), WHY], 'b'
      ),
      'broken image',
      'expected data:image/...;base64,',
    ),
    (
      messages([dict(type='image', image='a.jpg'), WHY], 'b', image='a.jpg'),
      'bad json',
      'images in image and in messages',
    ),
    (
      messages('a', 'b', image='a.jpg', images=['b.jpg']),
      'bad json',
      'images in image and in images',
    ),
    (messages('a', 'b', image='a.jpg'), 'missing image', 'no folder of images'),
  ],
)
def test_the_detail_says_what_was_found(fields, why, detail):
  with pytest.raises(records.BadRecord) as e:
    parse(fields)
  assert e.value.reason == why and detail in e.value.detail
  assert e.value.id == 'train/7'


def test_a_missing_image_names_the_path_that_was_tried(folder):
  with pytest.raises(records.BadRecord) as e:
    parse(FIELDS | dict(image='b.jpg'), folder)
  assert e.value.detail == f'{folder}/b.jpg: No such file or directory'


# Neither text nor image ------------------------------------------------------


@pytest.mark.parametrize(
  'fields',
  [
    dict(FIELDS, image=None, video='0.mp4'),
    dict(FIELDS, video='0.mp4'),
    dict(messages('a', 'b'), audios=['a.wav']),
    dict(messages('a', 'b'), audio=dict(bytes=b'RIFF', path=None)),
    dict(messages('a', 'b'), sound='a.wav'),
    dict(messages('a', 'b'), video_path='a.mp4'),
    messages('<video>\nWhat happens?', 'A cat jumps.'),
    messages('What <audio> is it?', 'Rain.'),
    messages('<|audio_bos|><|AUDIO|><|audio_eos|>What is it?', 'Rain.'),
    messages('<video_0> and <video_1>?', 'b'),
    messages('<speech>', 'b'),
    messages('<point_cloud>\nWhat?', 'b'),
    messages([dict(type='video', video='a.mp4'), WHY], 'b'),
    messages([dict(type='video_url', video_url=dict(url='a')), WHY], 'b'),
    messages([dict(type='input_audio', input_audio={}), WHY], 'b'),
    messages([dict(type='file', file={}), WHY], 'b'),
    messages([3], 'b'),
  ],
)
def test_what_is_about_something_else_is_no_conversation_about_nothing(
  fields, folder
):
  with pytest.raises(records.BadRecord) as e:
    parse(fields, folder)
  assert e.value.reason == 'other modality'


@pytest.mark.parametrize(
  'fields',
  [
    dict(messages('a', 'b'), video=None, audio='', videos=[]),
    dict(messages('a', 'b'), video_id='x', audio_language='en'),
    messages('What is a video tag?', 'It is written <video controls>.'),
  ],
)
def test_what_only_speaks_of_videos_stays(fields):
  assert len(parse(fields).turns) == 1


def test_a_disk_that_fails_is_no_missing_image(folder, monkeypatch):
  """Else a bad hour of a file server would thin out the data."""

  def fail(path, most):
    raise OSError(5, 'Input/output error')

  monkeypatch.setattr(regular_files, 'read', fail)
  monkeypatch.setattr(retry, 'WAITS', (0, 0))
  with pytest.raises(OSError, match='record a: Input/output.*a.jpg') as e:
    parse(FIELDS, folder)
  assert e.value.errno == 5
