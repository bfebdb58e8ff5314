"""The server's routes."""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import json
import logging
import pathlib
import time
from typing import Any
import uuid

from starlette import applications
from starlette import concurrency
from starlette import requests
from starlette import responses
from starlette import routing

from visor_jax.data.sources import image_files
from visor_jax.eval import answer as answer_lib
from visor_jax.serve import chat
from visor_jax.serve import engine as engine_lib
from visor_jax.serve import limits as limits_lib
from visor_jax.serve import meters as meters_lib

Handler = Callable[[requests.Request], Awaitable[responses.Response]]
PAGE = pathlib.Path(__file__).parent / 'page.html'


class Server:
  """What answers HTTP.

  Args:
    name: of the model, as requests name it.
    engine: that answers questions.
    limits: of a request.
    meters: where it counts.
    defaults: plan, budget or drop, where a request says none.
  """

  def __init__(
    self,
    name: str,
    engine: engine_lib.Engine,
    limits: limits_lib.Limits,
    meters: meters_lib.Meters,
    defaults: answer_lib.Options,
  ):
    self._name, self._engine, self._limits = name, engine, limits
    self._meters, self._defaults = meters, defaults
    self._began = int(time.time())

  def app(self) -> applications.Starlette:
    """The ASGI application; the engine runs while it does."""

    @contextlib.asynccontextmanager
    async def lifespan(app: applications.Starlette) -> AsyncIterator[None]:
      self._engine.start()
      yield
      await concurrency.run_in_threadpool(self._engine.stop)

    return applications.Starlette(
      routes=[
        routing.Route('/', self._page),
        routing.Route('/health', self._health),
        routing.Route('/metrics', self._metrics),
        routing.Route('/v1/models', self._models),
        routing.Route(
          '/v1/chat/completions', self._counted(self._chat), methods=['POST']
        ),
      ],
      lifespan=lifespan,
    )

  async def _page(self, request: requests.Request) -> responses.Response:
    return responses.FileResponse(PAGE, media_type='text/html')

  async def _health(self, request: requests.Request) -> responses.Response:
    alive = self._engine.alive
    return responses.JSONResponse(
      dict(status='ok' if alive else 'dead'), 200 if alive else 503
    )

  async def _metrics(self, request: requests.Request) -> responses.Response:
    return responses.PlainTextResponse(self._meters.page())

  async def _models(self, request: requests.Request) -> responses.Response:
    model = dict(
      id=self._name, object='model', created=self._began, owned_by='visor_jax'
    )
    return responses.JSONResponse(dict(object='list', data=[model]))

  def _counted(self, handler: Handler) -> Handler:
    """A handler whose errors are OpenAI's, and whose requests are counted."""

    async def counted(request: requests.Request) -> responses.Response:
      try:
        response = await handler(request)
      except Exception as e:
        response = _error(e)
      self._meters.requests.labels(str(response.status_code)).inc()
      return response

    return counted

  async def _chat(self, request: requests.Request) -> responses.Response:
    values = await self._json(request)
    asked = await concurrency.run_in_threadpool(
      chat.read, values, self._limits, self._defaults
    )
    if values.get('model') != self._name:
      raise limits_lib.Refusal(
        404, f'model {values.get("model")!r}: this is {self._name!r}'
      )
    await concurrency.run_in_threadpool(self._check_pixels, asked.images)
    events: asyncio.Queue[engine_lib.Event] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(event: engine_lib.Event) -> None:
      with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(events.put_nowait, event)

    ticket = engine_lib.Ticket(asked, tell)
    self._engine.submit(ticket)
    first = await self._event(request, ticket, events)
    self._meters.first.observe(time.monotonic() - ticket.arrived)
    reply = _Reply(self._name, ticket)
    if asked.stream:
      return responses.StreamingResponse(
        reply.stream(first, events), media_type='text/event-stream'
      )
    text, event = '', first
    while isinstance(event, str):
      text += event
      event = await self._event(request, ticket, events)
    return responses.JSONResponse(reply.complete(event, text))

  async def _event(
    self,
    request: requests.Request,
    ticket: engine_lib.Ticket,
    events: asyncio.Queue[engine_lib.Event],
  ) -> str | answer_lib.Answer:
    """The next event; a client that goes takes its question with it."""
    event = asyncio.ensure_future(events.get())
    gone = asyncio.ensure_future(_disconnected(request))
    try:
      await asyncio.wait({event, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
      gone.cancel()
      if not event.done():
        event.cancel()
        ticket.cancel()
    if event.cancelled() or not event.done():
      raise limits_lib.Refusal(499, 'the client has gone')
    return _raised(event.result())

  def _check_pixels(self, images: Sequence[bytes]) -> None:
    """By their headers: they are decoded when it is their turn."""
    count, most = sum(map(image_files.pixels, images)), self._limits.pixels
    if count > most:
      raise ValueError(f'{count} pixels; at most {most} are taken')

  async def _json(self, request: requests.Request) -> Any:
    """The body, within bounds."""
    kind = request.headers.get('content-type', '').partition(';')[0].strip()
    if kind != 'application/json':  # a foreign page could send others unasked
      raise limits_lib.Refusal(415, 'content-type: expected application/json')
    most = self._limits.body_bytes
    too_large = limits_lib.Refusal(413, f'the body has more than {most} bytes')
    length = request.headers.get('content-length', '0')
    if length.isdecimal() and int(length) > most:
      raise too_large
    body = bytearray()
    try:
      async with asyncio.timeout(self._limits.wait_seconds):
        async for chunk in request.stream():
          body += chunk
          if len(body) > most:
            raise too_large
    except TimeoutError:
      raise limits_lib.Refusal(408, 'the body takes too long') from None
    try:
      return await concurrency.run_in_threadpool(json.loads, body)
    except (ValueError, RecursionError):
      raise ValueError('the body is no JSON') from None


class _Reply:
  """OpenAI's objects of one answer."""

  def __init__(self, name: str, ticket: engine_lib.Ticket):
    self._ticket = ticket
    self._head = dict(
      id=f'chatcmpl-{uuid.uuid4().hex}', created=int(time.time()), model=name
    )

  def complete(self, answer: answer_lib.Answer, text: str) -> dict[str, Any]:
    message = dict(role='assistant', content=text)
    choice = dict(
      index=0,
      message=message,
      finish_reason=self._reason(),
      logprobs=None,
    )
    return dict(
      self._head,
      object='chat.completion',
      choices=[choice],
      usage=chat.usage(answer),
      visor=self._visor(answer),
    )

  async def stream(
    self,
    event: str | answer_lib.Answer,
    events: asyncio.Queue[engine_lib.Event],
  ) -> AsyncIterator[str]:
    """Server-sent events, until the answer ends or nobody listens."""

    def chunk(**fields: Any) -> dict[str, Any]:
      return dict(self._head, object='chat.completion.chunk', **fields)

    def choices(delta: dict[str, str], reason: str | None = None) -> list:
      return [dict(index=0, delta=delta, finish_reason=reason)]

    try:
      yield _sent(chunk(choices=choices(dict(role='assistant', content=''))))
      while isinstance(event, str):
        yield _sent(chunk(choices=choices(dict(content=event))))
        event = _raised(await events.get())
      yield _sent(
        chunk(choices=choices({}, self._reason()), visor=self._visor(event))
      )
      if self._ticket.asked.usage:
        yield _sent(chunk(choices=[], usage=chat.usage(event)))
      yield 'data: [DONE]\n\n'
    except Exception as e:
      yield _sent(json.loads(bytes(_error(e).body)))
    finally:
      self._ticket.cancel()

  def _reason(self) -> str:
    return 'stop' if self._ticket.stopped else 'length'

  def _visor(self, answer: answer_lib.Answer) -> dict[str, Any]:
    visor = chat.costs(answer)
    if self._ticket.asked.attention:
      visor['attention'] = self._ticket.attention
    return visor


def _raised(event: engine_lib.Event) -> str | answer_lib.Answer:
  if isinstance(event, Exception):
    raise event
  return event


def _sent(values: dict[str, Any]) -> str:
  return f'data: {json.dumps(values)}\n\n'


async def _disconnected(request: requests.Request) -> None:
  while (await request.receive())['type'] != 'http.disconnect':
    pass


def _error(error: Exception) -> responses.JSONResponse:
  """What a client is told; a bug it is not, the log has it."""
  status, message = 500, 'internal error; the log of the server has it'
  if isinstance(error, limits_lib.Refusal):
    status, message = error.status, error.message
  elif isinstance(error, ValueError | OSError):
    status, message = 400, str(error)
  else:
    logging.exception('visor_jax.serve', exc_info=error)
  kind = 'invalid_request_error' if status < 500 else 'server_error'
  headers = {'Retry-After': '1'} if status in (429, 503) else None
  return responses.JSONResponse(
    dict(error=dict(message=message, type=kind, code=status)), status, headers
  )
