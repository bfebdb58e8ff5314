"""What one decoder layer takes, by its kind.

Legend: d width, n heads, h head width.
"""

import dataclasses

from visor_jax.flops import accounting as accounting_lib
from visor_jax.reduction import grammar
from visor_jax.reduction import method
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans

Accounting = accounting_lib.Accounting
Architecture = architecture_lib.Architecture


@dataclasses.dataclass(frozen=True)
class Kind:
  """What a layer is under a plan.

  Attributes:
    kind: as plans name it.
    work: what it does to visual tokens as SELF.
  """

  kind: str
  work: method.VisualWork = method.VisualWork()


def kinds(architecture: Architecture, plan: plans.Plan | None) -> list[Kind]:
  """What every layer is under a plan, None for the base."""
  layout = (
    plans.base(architecture.depth) if plan is None else architecture.layout
  )
  works = grammar.visual_works(architecture, layout)
  return list(map(Kind, layout.fix(plan or ()).kinds, works))


def cross_key_heads(architecture: Architecture, grouped: int) -> int:
  """Key heads of a CROSS layer, where the base's count as `grouped`."""
  full = architecture.cross.key_heads == 'full'
  return architecture.size.language.heads if full else grouped


def layer(
  architecture: Architecture,
  accounting: Accounting,
  kind: Kind,
  visual: int,
  text: int,
  routing: int = 0,
  read: bool = False,
) -> int:
  """Multiply-adds of one decoder layer.

  Args:
    architecture: the model's.
    accounting: what is counted, and how.
    kind: of the layer, see `kinds`.
    visual: visual slots.
    text: text slots.
    routing: routing tokens, which read what the layer keeps of the prompt.
    read: what the layer makes of the image is there, from a prompt before.
  """
  language = architecture.size.language
  d, n, h = language.width, language.heads, language.head_width
  key_heads = language.key_heads if accounting.grouped else n

  def attend(queries: int, keys: int, square: bool = False) -> int:
    """Scores and their use: two products for every pair."""
    if square and accounting.causal == 'half':
      return queries * keys * n * h
    pairs = accounting.pairs(queries, keys, square)
    return 2 * pairs * n * h

  token = d * (2 * (n + key_heads) * h + accounting.mlp_matrices * language.mlp)
  both = text + visual

  def routed(keys: int) -> int:
    # Nobody sees a routing token: it has no keys and values.
    return routing * (token - 2 * d * key_heads * h + 2 * keys * n * h)

  if kind.kind == plans.SELF:
    attends, mlp = kind.work if not read else method.UNTOUCHED
    visual_keys = 0 if read else 2 * d * h * visual * key_heads
    visual_queries = attends * 2 * d * n * h * visual
    visual_mlp = mlp * d * accounting.mlp_matrices * language.mlp * visual
    if attends:
      pairs = attend(both, both, square=True)
    elif accounting.causal == 'full':
      pairs = attend(text, both)
    else:  # the text's half of its own square, wherever it stands
      pairs = attend(text, text, square=True) + attend(text, visual)
    of_visual = visual_keys + visual_queries + visual_mlp
    return text * token + of_visual + pairs + routed(both)
  macs = text * token + attend(text, text, square=True) + routed(text)
  if kind.kind == plans.CROSS:
    visual_keys = visual * cross_key_heads(architecture, key_heads)
    visual_keys = 0 if read else visual_keys
    macs += 2 * d * h * ((text + routing) * n + visual_keys)
    macs += attend(text, visual) + attend(routing, visual)
  return macs
