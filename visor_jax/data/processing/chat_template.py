"""A checkpoint's chat template, rendered as transformers does, within bounds.

Templates come from strangers. jinja's sandbox keeps them from the machine, but
not from its time and memory: so whatever a template does takes a part of what a
rendering may take, see template_budget.py.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import datetime
import functools
import json
from typing import Any
from typing import TypeVar

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.sandbox
import jinja2.visitor

from visor_jax.data.processing import template_budget

SOURCE = 1_000_000  # characters of a template
# What transformers renders in takes the day that it is. Here it is the day on
# which the process began: lengths are planned before rows are made.
_BEGAN = datetime.datetime.now()

T = TypeVar('T')


class ChatTemplate:
  """A template of messages.

  Args:
    source: the template.
    variables: what it may speak of beside the messages: special tokens.

  Raises:
    ValueError: it is no template.
  """

  def __init__(self, source: str, variables: Mapping[str, str]):
    self._environment, self._variables = _Environment(), dict(variables)
    self._source = source
    if len(source) > SOURCE:
      raise ValueError(
        f'the chat template has {len(source)} characters; the most are {SOURCE}'
      )
    self._template = self._bounded(
      lambda: self._environment.from_string(source)
    )

  def __reduce__(self) -> tuple[Any, ...]:
    return _sent, (self._source, self._variables, _BEGAN)

  def render(
    self, messages: Sequence[Any], add_generation_prompt: bool = False
  ) -> str:
    """The text of messages.

    Args:
      messages: {role, content} each.
      add_generation_prompt: the text ends where the assistant's would begin.

    Raises:
      ValueError: the template refuses, fails, or takes more than it may.
    """

    def generate() -> str:
      pieces = []
      for piece in self._template.generate(
        messages=list(messages),
        tools=None,
        documents=None,
        add_generation_prompt=add_generation_prompt,
        **self._variables,
      ):
        self._environment.budget.spend(len(piece))
        pieces.append(piece)
      return ''.join(pieces)

    return self._bounded(generate)

  def _bounded(self, act: Callable[[], T]) -> T:
    """What `act` gives; whatever a template raises is a ValueError."""
    self._environment.budget.begin()
    try:
      return act()
    except template_budget.Refused as e:
      raise ValueError(f'the chat template {e}') from None
    except Exception as e:  # also of jinja's and Python's own limits
      raise ValueError(
        f'the chat template fails: {type(e).__name__}: {str(e)[:500]}'
      ) from e


def _sent(
  source: str, variables: Mapping[str, str], began: datetime.datetime
) -> ChatTemplate:
  """A template from another process, whose day is the day from now on."""
  global _BEGAN
  _BEGAN = began
  return ChatTemplate(source, variables)


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
  """What transformers renders templates in, with a budget.

  Attributes:
    budget: of the rendering of each thread.
  """

  intercepted_binops = frozenset(('+', '*', '**', '%'))

  def __init__(self) -> None:
    super().__init__(
      trim_blocks=True,
      lstrip_blocks=True,
      extensions=[_Generation, jinja2.ext.loopcontrols],
      finalize=self._finalize,
    )
    self.budget = template_budget.Budget()
    self.globals |= {'raise_exception': _refuse, 'strftime_now': _strftime}
    del self.globals['lipsum']  # another text each time
    self.filters['tojson'] = _tojson
    self.filters = {
      name: self._bounded(name, filter_)
      for name, filter_ in self.filters.items()
    }
    self.filters[_STEPS] = functools.partial(template_budget.Steps, self.budget)
    self.filters[_JOINED] = self._concat
    self.concat = self._concat  # type: ignore[method-assign]  # jinja's hook

  def _parse(
    self, source: str, name: str | None, filename: str | None
  ) -> jinja2.nodes.Template:
    """The tree of a template, in which loops and `~` go through the budget."""
    tree = super()._parse(source, name, filename)
    return _Rewritten(self).visit(tree)

  def call(
    self,
    context: jinja2.runtime.Context,
    act: Any,
    /,
    *args: Any,
    **kwargs: Any,
  ) -> Any:
    """A function or method that a template calls."""
    method = getattr(act, '__wrapped__', act)
    owner = getattr(method, '__self__', None)
    values = [owner, *args, *kwargs.values()]
    self.budget.spend(
      template_budget.call_size(getattr(method, '__name__', ''), values)
    )
    return super().call(context, act, *args, **kwargs)

  def call_binop(
    self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
  ) -> Any:
    """left + right and the like."""
    if operator == '+' and type(left) is type(right) is str:  # nearly always
      self.budget.spend(len(left) + len(right))
      return left + right
    self.budget.spend(template_budget.call_size(operator, [left, right]))
    return super().call_binop(context, operator, left, right)

  def _bounded(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of jinja's whose result is paid for."""

    @functools.wraps(act)  # with the marks by which jinja passes a context
    def bounded(*args: Any, **kwargs: Any) -> Any:
      args = tuple(self._held(value) for value in args)
      self.budget.spend(
        template_budget.call_size(name, [*args, *kwargs.values()])
      )
      return act(*args, **kwargs)

    return bounded

  def _held(self, value: Any) -> Any:
    """What a filter reads: all at once where filters would hand it on."""
    if not isinstance(value, Iterator):
      return value
    return list(template_budget.Steps(self.budget, value))

  def _finalize(self, value: Any) -> Any:
    """What is written, before it is a text."""
    if isinstance(value, template_budget.HOLDING):
      self.budget.spend(template_budget.depth_size(value))
    return value

  def _concat(self, pieces: Iterable[Any]) -> str:
    """Pieces of text in one."""
    texts = [str(self._finalize(piece)) for piece in pieces]
    self.budget.spend(sum(map(len, texts)))
    return ''.join(texts)


_STEPS, _JOINED = 'the steps of a loop', 'the texts between ~'  # no names


class _Rewritten(jinja2.visitor.NodeTransformer):
  """A tree whose loops and joined texts are filters of the environment.

  Args:
    environment: the filters' own.
  """

  def __init__(self, environment: _Environment):
    self._environment = environment

  def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.For:
    self.generic_visit(node)
    node.iter = self._filter(_STEPS, node.iter)
    return node

  def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Filter:
    self.generic_visit(node)
    return self._filter(_JOINED, jinja2.nodes.List(node.nodes))

  def _filter(self, name: str, value: jinja2.nodes.Node) -> jinja2.nodes.Filter:
    node = jinja2.nodes.Filter(value, name, [], [], None, None)
    node.set_environment(self._environment)
    node.set_lineno(1)
    return node


class _Generation(jinja2.ext.Extension):
  """{% generation %} marks answers for transformers; here it does nothing."""

  tags = {'generation'}

  def parse(self, parser: jinja2.parser.Parser) -> Any:
    next(parser.stream)
    return parser.parse_statements(('name:endgeneration',), drop_needle=True)


def _refuse(message: object) -> None:
  """`raise_exception`."""
  raise template_budget.Refused(f'says: {str(message)[:500]}')


def _strftime(form: str) -> str:
  """`strftime_now`."""
  return _BEGAN.strftime(form)


def _tojson(
  value: Any,
  ensure_ascii: bool = False,
  indent: int | None = None,
  separators: tuple[str, str] | None = None,
  sort_keys: bool = False,
) -> str:
  """As in transformers; that of jinja escapes what HTML needs."""
  return json.dumps(
    value,
    ensure_ascii=ensure_ascii,
    indent=indent,
    separators=separators,
    sort_keys=sort_keys,
  )
