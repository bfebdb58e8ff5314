"""What one decoder layer takes, by its kind.

Legend: d width, n heads, h head width.
"""

from visor_jax.flops import accounting as accounting_lib
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans

Accounting = accounting_lib.Accounting
Architecture = architecture_lib.Architecture

# A SELF layer that reads the image and leaves it as it was.
LAST = 'last'


def kinds(architecture: Architecture, plan: plans.Plan | None) -> list[str]:
  """The kind of every layer under a plan, None for the base."""
  layout = (
    architecture.layout
    if plan is not None
    else (plans.base(architecture.depth))
  )
  layers = list(layout.fix(plan or ()).kinds)
  last = architecture.last_self(layout)
  if last >= 0 and layers[last] == plans.SELF:
    layers[last] = LAST
  return layers


def cross_key_heads(architecture: Architecture, grouped: int) -> int:
  """Key heads of a CROSS layer, where the base's count as `grouped`."""
  full = architecture.cross.key_heads == 'full'
  return architecture.size.language.heads if full else grouped


def layer(
  architecture: Architecture,
  accounting: Accounting,
  kind: str,
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

  if kind == plans.SELF and not read:
    return both * token + attend(both, both, square=True) + routed(both)
  if kind in (plans.SELF, LAST):  # of the image only keys and values
    # The text's half of its own square, wherever it stands; the image in full.
    pairs = attend(text, text, square=True) + attend(text, visual)
    if accounting.causal == 'full':
      pairs = attend(text, both)
    visual_keys = 0 if read else visual * key_heads
    return text * token + 2 * d * h * visual_keys + pairs + routed(both)
  macs = text * token + attend(text, text, square=True) + routed(text)
  if kind == plans.CROSS:
    visual_keys = visual * cross_key_heads(architecture, key_heads)
    visual_keys = 0 if read else visual_keys
    macs += 2 * d * h * ((text + routing) * n + visual_keys)
    macs += attend(text, visual) + attend(routing, visual)
  return macs
