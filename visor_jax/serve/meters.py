"""What a server counts, for Prometheus."""

import prometheus_client

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Meters:
  """The numbers of one server."""

  def __init__(self) -> None:
    self.registry = prometheus_client.CollectorRegistry()
    self.requests = prometheus_client.Counter(
      'visor_requests', 'By HTTP status.', ['status'], registry=self.registry
    )
    self.tokens = prometheus_client.Counter(
      'visor_tokens',
      'Of prompts and answers.',
      ['kind'],
      registry=self.registry,
    )
    self.plans = prometheus_client.Counter(
      'visor_plans', 'Answers by plan.', ['plan'], registry=self.registry
    )
    self.waiting = prometheus_client.Gauge(
      'visor_waiting', 'Requests that wait.', registry=self.registry
    )
    self.rows = prometheus_client.Histogram(
      'visor_batch_rows',
      'Questions that were answered together.',
      buckets=(1, 2, 4, 8, 16, 32),
      registry=self.registry,
    )
    self.first = self._seconds(
      'visor_first_token_seconds', 'To the first text.'
    )
    self.whole_answer = self._seconds('visor_answer_seconds', 'To the last.')

  def page(self) -> bytes:
    """All of them as Prometheus reads them."""
    return prometheus_client.generate_latest(self.registry)

  def _seconds(self, name: str, text: str) -> prometheus_client.Histogram:
    return prometheus_client.Histogram(
      name, text, buckets=SECONDS, registry=self.registry
    )
