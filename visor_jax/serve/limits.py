"""What a server takes on, so that nobody can take it from the others."""

import dataclasses


class Refusal(Exception):
  """A request that is not answered.

  Attributes:
    status: of HTTP.
    message: what is wrong, and what was expected.
  """

  def __init__(self, status: int, message: str):
    super().__init__(message)
    self.status, self.message = status, message


@dataclasses.dataclass(frozen=True)
class Limits:
  """Of a server and of one request.

  Attributes:
    body_bytes: of a request, images in base64 included.
    images: of a request.
    pixels: of all images of a request.
    new_tokens: of an answer, where a request asks for none.
    most_new_tokens: that a request may ask for.
    waiting: requests that may wait; the next is told to come again.
    wait_seconds: that one may wait before it is told so.
    answer_seconds: from its beginning to the end of its answer.
    rows: of a batch; fewer than half as many are answered one by one.
    readings: images of requests that are remembered, in sets.
    connections: that may be open.
    head_seconds: for a client to say what it wants.
  """

  body_bytes: int = 32 << 20
  images: int = 16
  pixels: int = 40_000_000
  new_tokens: int = 256
  most_new_tokens: int = 2048
  waiting: int = 64
  wait_seconds: float = 60.0
  answer_seconds: float = 300.0
  rows: int = 8
  readings: int = 32
  connections: int = 500
  head_seconds: float = 20.0
