"""What a prefill, new tokens and the cache cost, in closed form.

Only matrix products count, and a tower's convolutions as those that they stand
for. Elementwise work is left out in every accounting: norms, softmax, rotary
embedding, gathers, and CROSS's depthwise convolution.
The cost is that of one row; slots are what the caller says they are: real
tokens for NOMINAL, all slots of the arrays for EXECUTED. What new tokens take
is counted apart, by `decode`.

Legend: d width, n heads, h head width.
"""

from collections.abc import Collection
import dataclasses

from visor_jax.families import table as families
from visor_jax.flops import accounting as accounting_lib
from visor_jax.flops import layer_macs
from visor_jax.reduction import grammar
from visor_jax.reduction import method
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans

Accounting = accounting_lib.Accounting
Architecture = architecture_lib.Architecture


@dataclasses.dataclass(frozen=True)
class Cost:
  """Parts of one prefill, in FLOPs or, where per_mac is 1, multiply-adds.

  Attributes:
    vision: the tower.
    connector: its projector.
    layers: the decoder's layers, CROSS included.
    head: the output head.
    routing: what the router adds to the layers before it, and its MLP.
    rating: what choosing visual tokens takes, wherever it is done.
  """

  vision: int = 0
  connector: int = 0
  layers: int = 0
  head: int = 0
  routing: int = 0
  rating: int = 0

  @property
  def llm_prefill(self) -> int:
    """What savings are ratios of: everything behind the connector.

    And what choosing visual tokens takes: who throws some away pays for it.
    """
    return self.layers + self.head + self.routing + self.rating

  @property
  def total(self) -> int:
    """End to end."""
    return self.vision + self.connector + self.llm_prefill


def cost(
  architecture: Architecture,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  accounting: Accounting = accounting_lib.NOMINAL,
  *,
  tiles: int = 0,
  routing: int = 0,
  raters: int = 1,
) -> Cost:
  """What one row costs.

  With `routing` this is `Visor.route`, then `Visor.finish` from where it
  stopped: nothing runs twice, the router only adds to the plan's own cost.

  Args:
    architecture: the model's; of CROSS modules the built-in one is counted.
    plan: one boolean for each optional SELF layer; None for the base model.
    visual: visual slots.
    text: text slots.
    accounting: what is counted, and how.
    tiles: tiles that the vision tower sees, where they see each other those of
      one image; a reduction that asks for them takes as many as the visual
      tokens fill where they are not told.
    routing: prompts that the router decides on; 0 where it is not asked.
    raters: prompts whose last token rates visual tokens inside the decoder.

  Raises:
    ValueError: plan and layout do not fit, or the reduction goes with the base
      alone.
  """
  size = grammar.size(architecture)
  language = size.language
  reduction = grammar.single(architecture.reduction)
  if reduction.base_alone(architecture.depth) and plan is not None:
    raise ValueError(f'token reduction "{reduction}" goes with plan base alone')
  kinds = layer_macs.kinds(architecture, plan)
  visual_of_layer, rating = _reduced(architecture, visual, text, tiles, raters)
  visual = visual_of_layer[0]
  layers = sum(
    layer_macs.layer(architecture, accounting, kind, layer_visual, text)
    for kind, layer_visual in zip(kinds, visual_of_layer, strict=True)
  )
  logit_rows = {'none': 0, 'last': 1, 'all': text}[accounting.head]
  macs = dict(
    layers=layers,
    rating=rating,
    head=logit_rows * language.width * language.vocabulary,
  )
  if accounting.vision:
    family = families.named(architecture.family)
    macs['vision'] = family.tower_macs(size.vision, accounting.patches, tiles)
    macs['connector'] = tiles * family.connector_macs(size)
  if routing:
    macs['routing'] = _routing(
      architecture, accounting, plan, kinds, visual, text, routing
    )
  return Cost(**{part: accounting.per_mac * n for part, n in macs.items()})


def llm_prefill(
  architecture: Architecture,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  known: Collection[int],
  accounting: Accounting = accounting_lib.NOMINAL,
  *,
  tiles: int = 0,
  routing: int = 0,
) -> int:
  """`Cost.llm_prefill` where layers `known` have read the image before.

  There the text alone is run. The other arguments are those of `cost`.
  """
  visual_of_layer, _ = _reduced(architecture, visual, text, tiles)
  kinds = layer_macs.kinds(architecture, plan)
  layers = sum(
    layer_macs.layer(
      architecture, accounting, kinds[i], at, text, read=i in known
    )
    for i, at in enumerate(visual_of_layer)
  )
  all_anew = cost(
    architecture, plan, visual, text, accounting, tiles=tiles, routing=routing
  )
  return dataclasses.replace(
    all_anew, layers=accounting.per_mac * layers
  ).llm_prefill


def decode(
  architecture: Architecture,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  tokens: int,
  accounting: Accounting = accounting_lib.NOMINAL,
  *,
  tiles: int = 0,
) -> int:
  """What new tokens of one row take; the first comes with the prefill.

  Each reads all of the prompt and of the tokens before it; with a 'full'
  square all the room there is for new tokens, as the program does.

  Args:
    architecture: the model's.
    plan: one boolean for each optional SELF layer; None for the base model.
    visual: visual slots.
    text: text slots.
    tokens: new ones; for a 'full' square, the room for them.
    accounting: what is counted, and how.
    tiles: tiles of the image, which some reductions ask for.
  """
  language = architecture.size.language
  d, n, h = language.width, language.heads, language.head_width
  key_heads = language.key_heads if accounting.grouped else n
  kinds = architecture.layout_of(plan).kinds
  visual_of_layer, _ = _reduced(architecture, visual, text, tiles)
  steps = tokens - 1
  if accounting.causal == 'full':
    new_pairs = steps * tokens
  else:
    new_pairs = steps * tokens // 2  # 1 + 2 + ... + steps
  image_pairs = steps * sum(
    layer_visual
    for kind, layer_visual in zip(kinds, visual_of_layer, strict=True)
    if kind != plans.TEXT  # SELF and CROSS layers read the image
  )
  linear = d * (
    2 * (n + key_heads) * h + accounting.mlp_matrices * language.mlp
  )
  macs = len(kinds) * (steps * linear + 2 * (steps * text + new_pairs) * n * h)
  macs += 2 * image_pairs * n * h
  macs += steps * kinds.count(plans.CROSS) * 2 * d * n * h
  if accounting.head != 'none':
    macs += steps * d * language.vocabulary
  return accounting.per_mac * macs


def cache(
  architecture: Architecture,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  itemsize: int,
  *,
  tiles: int = 0,
) -> tuple[int, int]:
  """Bytes that a prompt keeps for the tokens to come.

  Every layer keeps keys and values of the text; SELF layers those of the image
  too; a CROSS layer its own of the image, projected once; a layer that is off
  nothing of the image.

  Args:
    architecture: the model's.
    plan: one boolean for each optional SELF layer; None for the base model.
    visual: visual slots.
    text: text slots.
    itemsize: bytes of a number.
    tiles: tiles of the image, which some reductions ask for.

  Returns:
    Bytes of text slots, bytes of visual slots; of one row.
  """
  language = architecture.size.language
  visual_heads = {
    plans.TEXT: 0,
    plans.SELF: language.key_heads,
    plans.CROSS: layer_macs.cross_key_heads(architecture, language.key_heads),
  }
  visual_of_layer, _ = _reduced(architecture, visual, text, tiles)
  bytes_of_head = 2 * language.head_width * itemsize  # a key and a value
  return (
    text * bytes_of_head * language.key_heads * language.depth,
    bytes_of_head
    * sum(
      visual_heads[kind] * layer_visual
      for kind, layer_visual in zip(
        architecture.layout_of(plan).kinds, visual_of_layer, strict=True
      )
    ),
  )


def _routing(
  architecture: Architecture,
  accounting: Accounting,
  plan: plans.Plan | None,
  kinds: list[layer_macs.Kind],
  visual: int,
  text: int,
  prompts: int,
) -> int:
  """Multiply-adds that the router's choice adds for so many prompts."""
  if plan is None or not architecture.layout.optional:
    raise ValueError(
      'routing is asked for, but the router chooses among '
      'optional SELF layers; base and this layout have none'
    )
  width, router = architecture.size.language.width, architecture.router
  # Other tokens are read after the layers, by one product over all slots.
  pool = {'learned': 0, 'last': text, 'visual': visual}[router.token]
  macs = prompts * (
    width * (pool + router.hidden) + router.hidden * router.plans
  )
  if router.token != 'learned':
    return macs
  for kind in kinds[: architecture.before_self]:
    macs += layer_macs.layer(
      architecture, accounting, kind, visual, text, prompts
    ) - layer_macs.layer(architecture, accounting, kind, visual, text)
  return macs


def _reduced(
  architecture: Architecture,
  visual: int,
  text: int,
  tiles: int,
  raters: int = 1,
) -> tuple[list[int], int]:
  """Visual tokens that each decoder layer gets, and what choosing them takes.

  That is multiply-adds: a class of matrix products that no accounting halves.
  """
  if not visual:
    return [0] * architecture.depth, 0
  reduction = grammar.single(architecture.reduction)
  size = grammar.size(architecture)
  tiles = tiles or max(1, round(visual / size.vision.patches))
  row = method.Row(size, visual, text, tiles, raters)
  return reduction.tokens_of_layer(row), reduction.rating_macs(row)
