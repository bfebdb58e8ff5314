"""What is counted, and how: every number of FLOPs comes with an Accounting.

Published savings differ by the formula alone (91x with grouped keys and the
causal half is 42x with neither).
"""

import dataclasses


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
    chunk: more pairs than so many queries and keys have are cut into equal
      chunks, as `models/attention.py` does, and of a full square those chunks
      of keys are left out that lie behind the queries; 0 for no chunks.
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

  def pairs(self, queries: int, keys: int, square: bool = False) -> int:
    """How many pairs are scored where none is left out one by one.

    Args:
      queries: that ask.
      keys: that are asked.
      square: both are the same tokens in order.
    """
    if not queries or not keys:
      return 0
    if not self.chunk or queries * keys <= self.chunk**2:
      return queries * keys
    most = self.chunk
    (many, size), (of_keys, key_size) = (
      (-(-n // most), -(-n // -(-n // most))) for n in (queries, keys)
    )
    chunks = many * (many + 1) // 2 if square else many * of_keys
    return chunks * size * key_size

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
    chunk = f', in chunks of at most {self.chunk}' if self.chunk else ''
    return (
      f'{self.name}: {unit} of the matrix products of one prefill, '
      f'{self.mlp_matrices} MLP matrices, {keys}, {square}, {vision}, '
      f'{head}, without decoding{chunk}.'
    )


# What every number of this project is in, unless it says otherwise.
NOMINAL = Accounting('nominal')

# The `dot_general`s of the traced program with 'chunked' attention where no
# chunk is skipped for its segment. `chunk` is that of `models.compute.Compute`.
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
