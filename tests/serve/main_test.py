"""OpenAI's client asks a server in a process of its own.

`pytest -m drill` asks 200 questions from 32 clients, and is not nice to it.
"""

import base64
import concurrent.futures
import contextlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import openai
import PIL.Image
import pytest

from tests import llava
from tests import pictures
from tests import questions
from tests import torch_visor
from visor_jax import inference
from visor_jax.spec import plan as plans

TOKENS = 6
PROMPT = questions.PROMPTS[0]


class Server:
  """A process that serves."""

  def __init__(self, checkpoint, *flags):
    self.process = subprocess.Popen(
      [
        *(sys.executable, '-m', 'visor_jax.serve'),
        *('--checkpoint', str(checkpoint), '--port=0', '--name=tiny', *flags),
      ],
      stdout=subprocess.PIPE,
      text=True,
    )
    for line in self.process.stdout:
      if found := re.search(r'http://127\.0\.0\.1:(\d+)', line):
        self.port = int(found[1])
        break
    self.url = f'http://127.0.0.1:{self.port}'
    self.client = openai.OpenAI(
      base_url=f'{self.url}/v1', api_key='none', max_retries=0, timeout=300
    )

  def ask(self, images, prompt, tokens=TOKENS, **extra):
    content = [
      dict(type='image_url', image_url=dict(url=data_url(image)))
      for image in images
    ] + [dict(type='text', text=prompt)]
    stream = extra.pop('stream', False)
    return self.client.chat.completions.create(
      model='tiny',
      messages=[dict(role='user', content=content)],
      max_tokens=tokens,
      stream=stream,
      extra_body=extra,
    )

  def post(self, body, **headers):
    """Status and JSON of a raw request."""
    connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
    headers = {'Content-Type': 'application/json'} | headers
    connection.request('POST', '/v1/chat/completions', body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())

  def get(self, path):
    with urllib.request.urlopen(self.url + path) as response:
      return response.read().decode()

  def meter(self, name):
    """A number of /metrics, summed over labels."""
    values = re.findall(
      rf'^{name}(?:{{.*}})? (\S+)$', self.get('/metrics'), re.M
    )
    return sum(map(float, values))

  def stop(self):
    self.process.send_signal(signal.SIGTERM)
    return self.process.wait(60)


def data_url(image):
  file = io.BytesIO()
  image.save(file, 'PNG')
  return 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  where = tmp_path_factory.mktemp('served')
  torch_visor.write(where, 'default')
  return where / 'checkpoint'


@pytest.fixture(scope='module')
def server(checkpoint):
  server = Server(checkpoint, '--plan=min', '--body-bytes=300000', '--rows=2')
  yield server
  server.process.kill()


def test_an_answer_is_generates(server, checkpoint):
  """Whole, streamed, and among others at the same time."""
  picture = llava.picture(45, 62)
  ours = inference.load(checkpoint).generate(
    [picture], PROMPT, 'min', max_new_tokens=TOKENS
  )
  reply = server.ask([picture], PROMPT)
  assert reply.choices[0].message.content == ours.text
  visor = reply.model_extra['visor']
  assert visor['plan'] == 'min' and visor['seconds'] > 0
  assert visor['flops_saved'] == pytest.approx(ours.flops_saved, abs=1e-3)
  assert reply.usage.prompt_tokens == ours.visual_tokens + ours.text_tokens
  assert reply.usage.completion_tokens == ours.tokens
  stream = server.ask([picture], PROMPT, stream=True, attention=True)
  *chunks, last = stream
  pieces = [chunk.choices[0].delta.content or '' for chunk in chunks]
  assert ''.join(pieces) == ours.text
  visor = last.model_extra['visor']
  assert visor['ran_vision_flops'] == 0  # the image had been read
  assert np.sum(visor['attention']) == pytest.approx(1, abs=1e-3)
  with concurrent.futures.ThreadPoolExecutor(6) as clients:
    replies = clients.map(lambda _: server.ask([picture], PROMPT), range(6))
    assert {x.choices[0].message.content for x in replies} == {ours.text}
  batches = server.meter('visor_batch_rows_count')
  assert server.meter('visor_batch_rows_sum') == 8 > batches


def test_what_there_is_to_watch(server):
  assert [model.id for model in server.client.models.list()] == ['tiny']
  assert json.loads(server.get('/health')) == {'status': 'ok'}
  assert '<title>VISOR' in server.get('/')
  assert server.meter('visor_waiting') == 0


@pytest.mark.parametrize(
  'extra,why',
  [
    (dict(plan='7'), 'optional SELF layer 7'),
    (dict(plan='min', budget=0.5), 'one of them'),
    (dict(tokens=-1), 'max_tokens is -1'),
    (dict(prompt='Hm? ' * 20_000), 'do not fit into'),
  ],
)
def test_a_bad_question_is_named(server, extra, why):
  with pytest.raises(openai.BadRequestError, match=re.escape(why)):
    server.ask([], **dict(prompt='Hm?') | extra)


def test_a_bad_request_is_named(server):
  other = json.dumps(dict(model='x', messages=[dict(role='user', content='?')]))
  bomb = json.dumps(
    dict(
      model='tiny',
      messages=[
        dict(
          role='user',
          content=[dict(type='image_url', image_url=dict(url=bomb_url()))],
        )
      ],
    )
  )
  connection = http.client.HTTPConnection('127.0.0.1', server.port)
  connection.request('GET', '/', headers={'Host': 'evil.example'})
  assert connection.getresponse().status == 400
  for body, headers, status, why in (
    ('{', {}, 400, 'no JSON'),
    (other, {}, 404, "this is 'tiny'"),
    (other, {'Content-Type': 'text/plain'}, 415, 'application/json'),
    ('[' * 400_000, {}, 413, 'more than 300000 bytes'),
    ('[' * 90_000, {}, 400, 'no JSON'),
    (bomb, {}, 400, 'pixels'),
  ):
    said, reply = server.post(body, **headers)
    assert (said, why in reply['error']['message']) == (status, True), reply


def bomb_url():
  """100 megapixels in few bytes."""
  return data_url(PIL.Image.new('1', (10_000, 10_000)))


def test_a_client_that_goes_leaves_nothing(server):
  content = json.dumps(
    dict(
      model='tiny',
      messages=[dict(role='user', content='Hm?')],
      max_tokens=2000,
    )
  )
  with socket.create_connection(('127.0.0.1', server.port)) as client:
    client.sendall(
      b'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n'
      b'Content-Type: application/json\r\n'
      + f'Content-Length: {len(content)}\r\n\r\n{content}'.encode()
    )
    time.sleep(0.3)
  with socket.create_connection(('127.0.0.1', server.port)) as half:
    half.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nContent-Le')
  server.ask([llava.picture(45, 62)], PROMPT)
  assert server.meter('visor_waiting') == 0


def test_sigterm_ends_it_cleanly_and_answers_what_was_asked(server):
  with concurrent.futures.ThreadPoolExecutor(1) as client:
    asked = client.submit(server.ask, [llava.picture(45, 62)], PROMPT)
    time.sleep(0.2)
    assert server.stop() == 0
    assert asked.result().choices[0].message.content


@pytest.mark.drill
def test_200_questions_of_32_clients(checkpoint):
  """Pages and plans mixed; then the same, one at a time."""
  model = inference.load(checkpoint)
  server = Server(
    checkpoint, '--wait-seconds=900', '--answer-seconds=900'
  )  # it compiles
  pages = [llava.picture(45, 62, seed) for seed in range(40)]
  selections = (dict(plan='min'), dict(plan='max'), dict(budget=0.85), {})
  asked = [
    (pages[i % 40], questions.PROMPTS[i % 2], selections[i % 4])
    for i in range(200)
  ]

  def ask(case):
    page, prompt, extra = case
    reply = server.ask([page], prompt, tokens=16, **extra)
    return reply.choices[0].message.content, reply.model_extra['visor']['plan']

  def timed(clients):
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
      replies = list(pool.map(ask, asked))
    return replies, time.monotonic() - began

  for clients in (32, 32, 1):  # programs are compiled
    timed(clients)
  (together, fast), (alone, slow) = timed(32), timed(1)
  for (page, prompt, extra), reply in zip(asked, together):
    ours = model.generate([page], prompt, **extra, max_new_tokens=16)
    assert reply == (ours.text, plans.name(ours.plan))
  assert alone == together
  rows = server.meter('visor_batch_rows_sum') / server.meter(
    'visor_batch_rows_count'
  )
  print(
    f'200 answers: {fast:.2f} s from 32 clients, {slow:.2f} s one at a time, '
    f'{slow / fast:.2f}x; {rows:.1f} questions a batch in all'
  )
  assert slow > 2 * fast
  server.process.kill()


@pytest.mark.drill
def test_a_server_outlives_what_is_done_to_it(checkpoint):
  server = Server(checkpoint, '--plan=min', '--head-seconds=5')
  picture = llava.picture(45, 62)
  want = server.ask([picture], PROMPT).choices[0].message.content

  def is_well():
    reply = server.ask([picture], PROMPT)
    assert reply.choices[0].message.content == want
    with open(f'/proc/{server.process.pid}/status') as status:
      resident = re.search(r'VmRSS:\s+(\d+)', status.read())[1]
    files = len(os.listdir(f'/proc/{server.process.pid}/fd'))
    return int(resident) // 1024, files

  print('before', is_well())
  idle = []
  for number in range(10_000):
    with contextlib.suppress(OSError):
      idle.append(socket.create_connection(('127.0.0.1', server.port), 5))
    if len(idle) > 900:  # of this process
      idle.pop(0).close()
    if number % 2000 == 0:
      print(number, is_well())
  print('10,000 idle connections', is_well())
  for connection in idle:
    connection.close()
  with socket.create_connection(('127.0.0.1', server.port)) as client:
    client.sendall(
      b'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n'
      b'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'
    )
    with contextlib.suppress(OSError):
      for _ in range(1 << 10):
        client.sendall(b'100000\r\n' + b'[' * (1 << 20) + b'\r\n')
  print('1 GB', is_well())
  children = [
    subprocess.Popen(
      [
        *('curl', '-s', '-N', f'{server.url}/v1/chat/completions'),
        *('-H', 'Content-Type: application/json', '-d'),
        json.dumps(
          dict(
            model='tiny',
            stream=True,
            max_tokens=2000,
            messages=[dict(role='user', content='Hm?')],
          )
        ),
      ],
      stdout=subprocess.DEVNULL,
    )
    for _ in range(20)
  ]
  time.sleep(2)
  for child in children:
    child.kill()
  print('20 clients killed', is_well())
  assert server.meter('visor_waiting') == 0
  assert server.stop() == 0


@pytest.mark.drill
def test_the_page_by_keyboard_and_on_a_phone(checkpoint, tmp_path):
  """In Chromium; needs playwright and a browser."""
  sync_api = pytest.importorskip('playwright.sync_api')
  server = Server(checkpoint)
  pictures.page(np.random.default_rng(0), 90, 90)[0].save(tmp_path / 'page.png')
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=shutil.which('chromium'), args=['--no-sandbox']
    )
    page = browser.new_page(viewport=dict(width=360, height=740))
    wrong = []
    page.on('pageerror', lambda e: wrong.append(e))
    page.on('console', lambda m: wrong.append(m) if m.type == 'error' else 0)
    page.goto(server.url)
    page.set_input_files('#file', tmp_path / 'page.png')
    page.focus('#file')
    for name in ('question', 'plan', 'budget'):
      page.keyboard.press('Tab')
      assert page.evaluate('document.activeElement.id') == name
    for _ in range(6):
      page.keyboard.press('ArrowRight')
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.id') == 'budget-of'
    page.keyboard.press('Tab')
    page.keyboard.press('Enter')
    page.wait_for_selector('#costs dd', timeout=300_000)
    assert 'chosen by the router' in page.inner_text('#costs')
    assert page.inner_text('#answer')
    assert page.evaluate('document.getElementById("map").width') == 3
    assert page.evaluate('document.documentElement.scrollWidth') == 360
    page.screenshot(path=tmp_path / 'page.png', full_page=True)
    browser.close()
  assert not wrong
  server.process.kill()
