"""A server with connections that say nothing."""

import contextlib
import http.client
import socket
import threading
import time

from starlette import applications
from starlette import responses
from starlette import routing
import uvicorn

from visor_jax.serve import connections
from visor_jax.serve import limits as limits_lib


async def answer(request):
  return responses.PlainTextResponse('here')


@contextlib.contextmanager
def served(**limits):
  """A port on which that is answered."""
  app = applications.Starlette(routes=[routing.Route('/', answer)])
  protocol = connections.protocol(limits_lib.Limits(**limits))
  config = uvicorn.Config(app, http=protocol, log_level='error')
  server = uvicorn.Server(config)
  with socket.create_server(('127.0.0.1', 0)) as listener:
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
      time.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


def get(port):
  connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
  connection.request('GET', '/')
  return connection.getresponse().read()


def connect(port):
  return socket.create_connection(('127.0.0.1', port), timeout=10)


def test_the_silent_are_closed_after_a_while():
  with served(head_seconds=0.3) as port:
    with connect(port) as silent, connect(port) as slow:
      slow.sendall(b'GET / HTTP/1.1\r\nHo')
      assert silent.recv(1) == b'' == slow.recv(1)
    assert get(port) == b'here'


def test_of_too_many_the_longest_silent_goes():
  with served(connections=3) as port:
    silent = [connect(port) for _ in range(6)]
    assert get(port) == b'here'
    for connection in silent[:3]:
      assert connection.recv(1) == b''
    silent[-1].sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    assert silent[-1].recv(15) == b'HTTP/1.1 200 OK'
    for connection in silent:
      connection.close()
