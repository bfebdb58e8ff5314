"""What a prefill costs, in closed form, under an accounting that is stated.

Published savings differ by the formula alone (91x with grouped keys and the
causal half is 42x with neither), so every number comes with an `Accounting`.

Only matrix products count. Elementwise work is left out in every accounting:
norms, softmax, rotary embedding, gathers, and CROSS's depthwise convolution.
The cost is that of one row; slots are what the caller says they are: real
tokens for NOMINAL, all slots of the arrays for EXECUTED. What new tokens take
is counted apart, by `decode`.
"""

import dataclasses

from visor_jax.reduction import grammar as reductions
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes


def _one_of(what, given, known):
  if given not in known:
    raise ValueError(f'{what} is {given!r}, not one of {known}')


@dataclasses.dataclass(frozen=True)
class Accounting:
  """The switches by which published numbers differ, and what reality adds.

  Attributes:
    name: how reports call it.
    per_mac: 2 counts FLOPs, 1 counts multiply-adds.
    mlp_matrices: of the decoder's MLP; Qwen2 has 3, some papers count 2.
    grouped: keys and values have the model's key heads; False counts as many
      as query heads, in CROSS layers too.
    causal: tokens that attend to one another form a 'half' or 'full' square.
      What text and routing tokens read of the image, and patches of one
      another, is always counted in full.
    vision: the vision tower and the connector are counted (in `Cost.total`).
    patches: so is the tower's patch embedding, 0.15 % of it.
    head: the output head is applied to 'none', the 'last' or 'all' text slots.
    chunk: queries beyond that many are padded to a multiple of it, as
      `models/attention.py` does; 0 for no padding.
  """

  name: str
  per_mac: int = 2
  mlp_matrices: int = 3
  grouped: bool = True
  causal: str = 'half'
  vision: bool = True
  patches: bool = False
  head: str = 'none'
  chunk: int = 0

  def __post_init__(self):
    for field, known in (
      ('per_mac', (1, 2)),
      ('mlp_matrices', (2, 3)),
      ('causal', ('half', 'full')),
      ('head', ('none', 'last', 'all')),
    ):
      _one_of(f'Accounting.{field}', getattr(self, field), known)

  def describe(self) -> str:
    """One sentence to print beside every number."""
    unit = {1: 'multiply-adds', 2: 'FLOPs (2 per multiply-add)'}[self.per_mac]
    keys = 'grouped keys' if self.grouped else 'full key heads (as in MHA)'
    square = {'half': 'causal half', 'full': 'full square'}[self.causal]
    patches = '' if self.patches else ' (without patch embedding)'
    vision = (
      f'vision tower{patches} and connector in the total only'
      if self.vision
      else 'without vision tower and connector'
    )
    head = {
      'none': 'without output head',
      'last': 'one row of logits',
      'all': 'logits for every text slot',
    }[self.head]
    chunk = f', queries padded to chunks of {self.chunk}' if self.chunk else ''
    return (
      f'{self.name}: {unit} of the matrix products of one prefill, '
      f'{self.mlp_matrices} MLP matrices, {keys}, {square}, {vision}, '
      f'{head}, without decoding{chunk}.'
    )


# What every number of this project is in, unless it says otherwise.
NOMINAL = Accounting('nominal')

# The `dot_general`s of the traced program with 'chunked' attention; kernels
# (cuDNN, splash) do about half the square. `chunk` is `llm.Compute.chunk`.
EXECUTED = Accounting(
  'executed', causal='full', patches=True, head='all', chunk=512
)

# How others count, so that their ratios can be set beside ours: per layer of
# width d and MLP width m on n tokens. Multiply-adds are what they call FLOPs.
_OTHERS = Accounting('', per_mac=1, grouped=False, causal='full', vision=False)
ACCOUNTINGS = {
  a.name: a
  for a in (
    NOMINAL,
    EXECUTED,
    # The table in the reference's paper.md; ratios are those of nominal.
    Accounting('macs', per_mac=1),
    # 4nd^2 + 2n^2d + 2ndm: FastV's paper, and the preliminaries of VisionZip's.
    dataclasses.replace(_OTHERS, name='fastv', mlp_matrices=2),
    dataclasses.replace(_OTHERS, name='visionzip', mlp_matrices=2),
    # 4nd^2 + 2n^2d + 3ndm: SparseVLM's code, without what its rating takes.
    # PyramidDrop counts stage by stage with this or the one above: sources
    # differ, so compare with both.
    dataclasses.replace(_OTHERS, name='sparsevlm'),
    # Hooks on every linear layer and product of the whole model, as VTW used.
    Accounting('calflops', causal='full', patches=True, head='all'),
    # 2 FLOPs for each parameter of the decoder but the embedding, and the full
    # square: the forward third of torchtitan's 6N + 12LHQT.
    Accounting('torchtitan', causal='full', vision=False, head='all'),
  )
}


@dataclasses.dataclass(frozen=True)
class Cost:
  """Parts of one prefill, in FLOPs or, where per_mac is 1, multiply-adds."""

  vision: int = 0
  connector: int = 0
  layers: int = 0  # the decoder's, CROSS included
  head: int = 0
  routing: int = 0  # what the router adds to the layers before it, and its MLP
  rating: int = 0  # what choosing visual tokens takes, wherever it is done

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
  size: sizes.Size,
  layout: plans.Layout,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  accounting: Accounting = NOMINAL,
  *,
  tiles: int = 0,
  cross_key_heads: str = 'base',
  routing: int = 0,
  router_token: str = 'learned',
  router_hidden: int = 128,
  router_plans: int = 9,
  last_visual: bool = True,
  reduction: reductions.Reduction | None = None,
  raters: int = 1,
) -> Cost:
  """What one row costs.

  With `routing` this is `Visor.route`, then `Visor.finish` from where it
  stopped: nothing runs twice, the router only adds to the plan's own cost.

  Args:
    size: of the model.
    layout: the VISOR layout.
    plan: one boolean for each optional SELF layer; None for the base model.
    visual: visual slots.
    text: text slots.
    accounting: what is counted, and how.
    tiles: that the vision tower sees.
    cross_key_heads: `model.cross.key_heads`, of the built-in CROSS module.
    routing: prompts that the router decides on; 0 where it is not asked.
    router_token: `model.router.token`.
    router_hidden: `model.router.hidden`.
    router_plans: `model.router.plans`.
    last_visual: `model.last_visual`.
    reduction: of the visual tokens; where tiles are not told, they are as many
      as the visual tokens fill.
    raters: prompts whose last token rates visual tokens inside the decoder.

  Raises:
    ValueError: layout, plan and size do not fit, or an unknown option.
  """
  _one_of('model.cross.key_heads', cross_key_heads, ('base', 'full'))
  _one_of('model.router.token', router_token, ('learned', 'last', 'visual'))
  language = size.language
  if len(layout.kinds) != language.depth:
    raise ValueError(
      f'the layout has {len(layout.kinds)} layers, the size '
      f'has {language.depth}'
    )
  if plan is None:
    layout, plan = plans.base(language.depth), ()
  elif reduction and not reduction.early:
    raise ValueError(f'token reduction "{reduction}" goes with plan base alone')
  kinds = list(layout.fix(plan).kinds)
  last = -1 if last_visual else layout.last_self
  if last >= 0 and kinds[last] == plans.SELF:
    kinds[last] = 'last'

  seen, rating = _reduced(size, reduction, visual, text, tiles, raters)
  visual = seen[0]
  layer = lambda kind, routes=0, visual=visual: _layer(
    language, accounting, kind, visual, text, routes, cross_key_heads
  )
  macs = {
    'layers': sum(
      layer(kind, 0, some) for kind, some in zip(kinds, seen, strict=True)
    ),
    'rating': rating,
  }
  rows = {'none': 0, 'last': 1, 'all': text}[accounting.head]
  macs['head'] = rows * language.width * language.vocabulary
  if accounting.vision:
    macs['vision'] = tiles * _tile(size.vision, accounting.patches)
    macs['connector'] = (
      tiles
      * size.vision.patches
      * language.width
      * (size.vision.width + language.width)
    )
  if routing:
    if not layout.optional:
      raise ValueError(
        'routing is asked for, but the router chooses among '
        'optional SELF layers; base and this layout have none'
      )
    # Other tokens are read after the layers, by one product over all slots.
    pool = {'learned': 0, 'last': text, 'visual': visual}[router_token]
    macs['routing'] = routing * (
      language.width * (pool + router_hidden) + router_hidden * router_plans
    )
    if router_token == 'learned':
      for kind in kinds[: min(layout.optional)]:
        if kind == plans.SELF:
          raise ValueError(
            'a routing token cannot pass a SELF layer; choose '
            'model.router.token "last" or "visual"'
          )
        # A difference, because padding to chunks does not add up.
        macs['routing'] += layer(kind, routing) - layer(kind)
  return Cost(**{k: accounting.per_mac * v for k, v in macs.items()})


def decode(
  size: sizes.Size,
  layout: plans.Layout,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  tokens: int,
  accounting: Accounting = NOMINAL,
  *,
  cross_key_heads: str = 'base',
  tiles: int = 0,
  reduction: reductions.Reduction | None = None,
) -> int:
  """What new tokens of one row take; the first comes with the prefill.

  Each reads all of the prompt and of the tokens before it; with a 'full'
  square all the room there is for new tokens, as the program does.

  Args:
    size: of the model.
    layout: the VISOR layout.
    plan: one boolean for each optional SELF layer; None for the base model.
    visual: visual slots.
    text: text slots.
    tokens: new ones; for a 'full' square, the room for them.
    accounting: what is counted, and how.
    cross_key_heads: `model.cross.key_heads`, of the built-in CROSS module.
    tiles: of the image, which some reductions ask for.
    reduction: of the visual tokens.
  """
  _one_of('model.cross.key_heads', cross_key_heads, ('base', 'full'))
  language = size.language
  d, n, h = language.width, language.heads, language.head_width
  grouped = language.key_heads if accounting.grouped else n
  kinds = (
    (plans.SELF,) * language.depth if plan is None else layout.fix(plan).kinds
  )
  steps = tokens - 1
  new = (
    steps * tokens if accounting.causal == 'full' else (steps * tokens // 2)
  )  # 1 + 2 + ... + steps
  seen, _ = _reduced(size, reduction, visual, text, tiles, 1)
  looks = steps * sum(
    some for kind, some in zip(kinds, seen) if kind != plans.TEXT
  )
  token = d * (2 * (n + grouped) * h + accounting.mlp_matrices * language.mlp)
  macs = len(kinds) * (steps * token + 2 * (steps * text + new) * n * h)
  macs += 2 * looks * n * h  # SELF and CROSS layers read the image
  macs += steps * kinds.count(plans.CROSS) * 2 * d * n * h
  if accounting.head != 'none':
    macs += steps * d * language.vocabulary
  return accounting.per_mac * macs


def cache(
  size: sizes.Size,
  layout: plans.Layout,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  itemsize: int,
  *,
  cross_key_heads: str = 'base',
  tiles: int = 0,
  reduction: reductions.Reduction | None = None,
) -> tuple[int, int]:
  """Bytes that a prompt keeps for the tokens to come.

  Every layer keeps keys and values of the text; SELF layers those of the image
  too; a CROSS layer its own of the image, projected once; a layer that is off
  nothing of the image.

  Args:
    size: of the model.
    layout: the VISOR layout.
    plan: one boolean for each optional SELF layer; None for the base model.
    visual: visual slots.
    text: text slots.
    itemsize: bytes of a number.
    cross_key_heads: `model.cross.key_heads`, of the built-in CROSS module.
    tiles: as of `cost`, for the reduction.
    reduction: of the visual tokens.

  Returns:
    Bytes of text slots, bytes of visual slots; of one row.
  """
  language = size.language
  kinds = (
    (plans.SELF,) * language.depth if plan is None else layout.fix(plan).kinds
  )
  cross_heads = (
    language.heads if cross_key_heads == 'full' else language.key_heads
  )
  heads = {plans.SELF: language.key_heads, plans.CROSS: cross_heads}
  seen, _ = _reduced(size, reduction, visual, text, tiles, 1)
  each = 2 * language.head_width * itemsize
  return (
    text * each * language.key_heads * language.depth,
    each * sum(heads.get(kind, 0) * some for kind, some in zip(kinds, seen)),
  )


def _reduced(size, reduction, visual, text, tiles, raters):
  """Visual tokens that each decoder layer gets, and what choosing them takes.

  That is multiply-adds: a class of matrix products that no accounting halves.
  """
  language, vision = size.language, size.vision
  d, n, h = language.width, language.heads, language.head_width
  if reduction is None or not visual:
    return [visual] * language.depth, 0
  tiles = tiles or max(1, round(visual / vision.patches))
  if reduction.early:
    fewer = reduction.slots(visual, tiles, vision.grid)
    rating = 0
    if reduction.rated:  # attention that patches get, and who is like whom
      rating = tiles * vision.patches**2 * vision.width
      rating += (
        visual
        * {
          'visionzip': fewer
          * (vision.width // (vision.heads if vision.depth else 1)),
          'vispruner': visual * d,
        }[reduction.method]
      )
    return [fewer] * language.depth, rating
  seen, rating = [], 0
  cuts = reduction.cuts(language.depth)
  fewer = visual
  for layer in range(language.depth):
    for cut in cuts:
      if cut.rate == layer:  # queries of raters, keys of all, their products
        rating += raters * d * n * h + (text + fewer) * (
          d * language.key_heads * h + raters * n * h
        )
      if cut.drop == layer:
        fewer = reductions.share(fewer, cut.keep)
    seen.append(fewer)
  return seen, rating


def _layer(language, accounting, kind, visual, text, routes, cross_key_heads):
  """Multiply-adds of one decoder layer."""
  d, n, h = language.width, language.heads, language.head_width
  grouped = language.key_heads if accounting.grouped else n
  cross_keys = n if cross_key_heads == 'full' else grouped

  def attend(queries, keys, square=False):
    """Scores and their use: two products for every pair."""
    if accounting.chunk and queries > accounting.chunk:
      queries += -queries % accounting.chunk
    products = 1 if square and accounting.causal == 'half' else 2
    return products * queries * keys * n * h

  token = d * (2 * (n + grouped) * h + accounting.mlp_matrices * language.mlp)
  if kind == plans.SELF:
    both = text + visual
    return both * token + attend(both, both, square=True)
  if kind == 'last':  # of the image only keys and values
    # The text's half of its own square, wherever it stands; the image in full.
    seen = attend(text, text, square=True) + attend(text, visual)
    if accounting.causal == 'full':
      seen = attend(text, text + visual)
    return text * token + visual * 2 * d * grouped * h + seen
  # A routing token is seen by no one, yet its keys and values are computed.
  own = text + routes
  macs = own * token + attend(text, text, square=True) + attend(routes, text)
  if kind == plans.CROSS:
    macs += 2 * d * h * (own * n + visual * cross_keys) + attend(own, visual)
  return macs


def _tile(vision, patches):
  """Multiply-adds of the vision tower on one tile."""
  p, d = vision.patches, vision.width
  layer = p * d * (4 * d + 2 * vision.mlp) + 2 * p * p * d
  return vision.depth * layer + patches * p * 3 * vision.patch**2 * d
