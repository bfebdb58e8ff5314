"""What `python -m visor_jax.analysis` found, as sections of the page.

`colours` is `canvas.palette`; `numbers` are those of an analysis.
"""

import dataclasses

from matplotlib import colormaps
from matplotlib import patches

from visor_jax.report import average
from visor_jax.report import canvas
from visor_jax.report import tables

SHARES = {
  'question_to_image': '#0072b2',
  'answer_to_image': '#d55e00',
  'answer_to_question': '#009e73',
}
GROUPS = {'coarse': '#0072b2', 'fine': '#d55e00'}


@dataclasses.dataclass(frozen=True)
class Section:
  """Drawings under a title, what to see in them, and {name: colour}."""

  title: str
  drawings: list[str]
  how: str
  legend: dict[str, str]


def sections(found: dict, colours):
  """Yields a Section for each analysis that there is.

  Args:
    found: {name: what its file holds}, see read.Workdir.
    colours: of the plans.
  """
  for name, make in SECTIONS.items():
    if name in found:
      numbers, asked = found[name]['numbers'], found[name]['options']
      section = make(numbers, colours)
      if 'examples' in asked:
        section = dataclasses.replace(
          section,
          how=(f'{section.how} From {asked["examples"]:,} test questions.'),
        )
      yield section


def _attention(numbers, colours):
  drawings = [shares(plan, one) for plan, one in numbers.items()]
  return Section(
    'Where text looks',
    [*drawings, taken(numbers, colours)],
    'Share of the attention of text that goes to the image, or from answer '
    'to question, by layer (TEXT, CROSS or SELF): means over heads and over '
    "the tokens that see the image; answers are the plan's own. Solid: fine "
    'families, dashed: coarse. A CROSS layer looks at the image alone and '
    'then at the text, so its shares do not add up; what a token takes from '
    'the image, against its own length, is comparable between all kinds.',
    {name.replace('_', ' '): colour for name, colour in SHARES.items()},
  )


def _cka(numbers, colours):
  moving = {p: one for p, one in numbers.items() if len(one['layers']) > 1}
  drawings = [similarity(plan, one) for plan, one in moving.items()]
  for plan, one in moving.items():
    drawings += [
      between(plan, group, one) for group in GROUPS if group in one['cka']
    ]
  still = [plan for plan in numbers if plan not in moving]
  said = f' Plan {", ".join(still)} leaves the image as it is.' * bool(still)
  return Section(
    'How much visual features change',
    drawings,
    'CKA (linear, unbiased) between the visual tokens of a question as '
    'layers leave them: 1 where they are the same but for a rotation, 0 '
    'where they have nothing in common. Solid: with what enters the decoder, '
    'dotted: with the layer that changed them before; then all pairs.' + said,
    GROUPS,
  )


def _drop(numbers, colours):
  drawings, said = [], ''
  for plan, one in numbers.items():
    drawings.append(dropped(plan, one))
    if one['correlation']:
      drawings.append(alike(plan, one))
      said += (
        f" Plan {plan}: the split is the suite's for "
        f'{tables.percent(one["agreement"])} % of families.'
      )
    if one['constant']:
      said += (
        f' Plan {plan}: nothing changes {", ".join(one["constant"])}, '
        'left out of the correlation.'
      )
  trees = any(one['correlation'] for one in numbers.values())
  return Section(
    'Which layers need the image',
    drawings,
    'Accuracy in % when these layers do not see the image, and are TEXT; the '
    'deeper the tint, the more is lost. Then the correlation between the '
    'responses of families and the tree of its clusters, the two largest in '
    'two colours; in brackets the group that the suite gives them.' + said,
    GROUPS if trees else {},
  )


def _unseen(numbers, colours):
  out = [row for row in numbers['families'] if row['left_out']]
  mean = lambda name: tables.percent(
    sum(r['n'] * r[name]['accuracy'] for r in out) / sum(r['n'] for r in out)
  )
  said = (
    (
      f' On them the ordinary one reaches {mean("ordinary")} %, the second '
      f'{mean("without")} %, max {mean("max")} %.'
    )
    if out
    else (' None of them is among the test questions.')
  )
  return Section(
    'A router on families it has not seen',
    [
      routed(numbers, 'accuracy', 'accuracy, %'),
      routed(numbers, 'flops', 'LLM prefill, % of max'),
    ],
    f'Families marked * ({", ".join(numbers["without"])}) were left out when '
    'a second router learned: filled dots are the ordinary router, rings the '
    f'second, bars plan max.{said}',
    {},
  )


def _length(numbers, colours):
  return Section(
    'Cost by the length of the image',
    [length(numbers, colours)],
    f'LLM prefill of a prompt of {numbers["text"]} text tokens, of plans and '
    f'of the base with fewer visual tokens (dashed). '
    f'{numbers["accounting"]}',
    {},
  )


SECTIONS = {
  'attention': _attention,
  'cka': _cka,
  'drop': _drop,
  'unseen': _unseen,
  'length': _length,
}


def shares(plan: str, one) -> str:
  """Attention shares of one plan by layer."""

  def draw(ax):
    for group in GROUPS:
      for name, colour in SHARES.items():
        y = one['shares'].get(group, {}).get(name)
        if y:
          ax.plot(
            range(len(y)),
            [_percent(v) for v in y],
            color=colour,
            marker='o',
            markersize=3,
            **_dash(group),
          )
    _layers(ax, one['kinds'])
    ax.set(title=f'plan {plan}', ylabel='share of attention, %', ylim=(-4, 104))

  return canvas.svg(f'attention shares, plan {plan}', 4.5, 3, draw)


def taken(numbers, colours) -> str:
  """What text takes from the image by layer, of every plan."""

  def draw(ax):
    for plan, one in numbers.items():
      for group in GROUPS:
        y = one['shares'].get(group, {}).get('read')
        if y:
          ax.plot(
            range(len(y)),
            [_percent(v or None) for v in y],
            marker='o',
            markersize=3,
            color=colours.get(plan, canvas.SOFT),
            label=plan if group == 'fine' else None,
            **_dash(group),
          )
    longest = max(numbers.values(), key=lambda one: len(one['kinds']))
    _layers(ax, [''] * len(longest['kinds']))
    ax.legend(frameon=False, fontsize=8)
    ax.set(
      title='taken from the image',
      yscale='log',
      ylabel="% of the token's length (log)",
    )
    ax.yaxis.set_major_formatter(lambda v, _: f'{v:,.6g}')

  return canvas.svg('what text takes from the image', 4.5, 3, draw)


def similarity(plan: str, one) -> str:
  """CKA by layer, with the input and with the layer before."""
  names = _states(one)

  def draw(ax):
    for group, colour in GROUPS.items():
      cka = one['cka'].get(group)
      if cka:
        ax.plot(
          range(len(cka)),
          [_nan(v) for v in cka[0]],
          'o-',
          color=colour,
          markersize=3,
        )
        ax.plot(
          range(1, len(cka)),
          [_nan(cka[i][i - 1]) for i in range(1, len(cka))],
          color=colour,
          linestyle=':',
        )
    few = slice(None, None, 1 + len(names) // 16)
    ax.set_xticks(range(len(names))[few], names[few])
    ax.set(title=f'plan {plan}', xlabel='layer', ylabel='CKA', ylim=(0, 1.04))

  return canvas.svg(f'CKA of visual features, plan {plan}', 4.5, 3, draw)


def between(plan: str, group: str, one) -> str:
  """CKA of all pairs of layers in a group."""
  names, cka = _states(one), one['cka'][group]

  def draw(ax):
    _cells(ax, cka, lambda v: f'{v:.2f}' if len(names) <= 8 else '')
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set_title(f'{plan}, {group}')

  side = max(2.2, 0.17 * len(names) + 0.9)
  return canvas.svg(
    f'CKA between layers, plan {plan}, {group}', side, side, draw
  )


def dropped(plan: str, one) -> str:
  """Accuracy of families by the layers that do not see the image."""
  order = sorted(one['accuracy'], key=lambda f: (one['groups'][f], f))
  names = [
    'none',
    *(
      f'{s[0]}-{s[-1]}' if len(s) > 1 else str(s[0]) for s in one['dropped'][1:]
    ),
  ]

  def draw(ax):
    for y, family in enumerate(order):
      values = [100 * v for v in one['accuracy'][family]]
      for x, value in enumerate(values):
        loss = max(0, values[0] - value) / 100
        ax.add_patch(
          patches.Rectangle(
            (x - 0.47, y - 0.45),
            0.94,
            0.9,
            color=canvas.LOSS,
            alpha=0.85 * loss,
            linewidth=0,
          )
        )
        ax.text(x, y, f'{value:.0f}', ha='center', va='center', fontsize=8)
    ax.set_xticks(range(len(names)), names, rotation=90 * (len(names) > 8))
    ax.set_yticks(range(len(order)), order)
    ax.set(
      title=f'plan {plan}',
      xlabel='layers that do not see the image',
      xlim=(-0.5, len(names) - 0.5),
      ylim=(len(order) - 0.5, -0.5),
    )
    _bare(ax)

  return canvas.svg(
    f'accuracy without the image, plan {plan}',
    max(3.5, 1.4 + 0.36 * len(names)),
    1.2 + 0.27 * len(order),
    draw,
  )


def alike(plan: str, one) -> str:
  """Correlation between families, and the tree of their clusters."""
  families, f = one['families'], len(one['families'])

  def draw(ax):
    _cells(
      ax, one['correlation'], lambda v: f'{v:.1f}' if f <= 16 else '', low=-1
    )
    ax.set_yticks(
      range(f), [f'{name} ({one["groups"][name]})' for name in families]
    )
    ax.set_xticks([])
    _tree(
      ax, one['linkage'], [GROUPS[one['split'][name]] for name in families], f
    )
    ax.set(title=f'plan {plan}', xlim=(-0.5, f + 2.6), ylim=(f - 0.5, -0.5))

  return canvas.svg(
    f'families that respond alike, plan {plan}',
    2.4 + 0.32 * f,
    0.7 + 0.3 * f,
    draw,
  )


def _tree(ax, linkage, colours, at, wide=2.4):
  """The tree of the leaves 0, 1, ... from x = `at` on, `wide` wide."""
  top = max(height for _, _, height, _ in linkage) or 1
  nodes = [(i, at, colour) for i, colour in enumerate(colours)]  # y, x, colour
  for a, b, height, _ in linkage:
    (ya, xa, ca), (yb, xb, cb) = nodes[int(a)], nodes[int(b)]
    x, colour = at + wide * height / top, ca if ca == cb else canvas.SOFT
    for y, begin, own in ((ya, xa, ca), (yb, xb, cb)):
      ax.plot([begin, x], [y, y], color=own, linewidth=1.2)
    ax.plot([x, x], [ya, yb], color=colour, linewidth=1.2)
    nodes.append(((ya + yb) / 2, x, colour))


def routed(numbers, key: str, label: str) -> str:
  """Both routers and plan max by family."""
  rows = sorted(numbers['families'], key=lambda r: (r['group'], r['family']))
  value = lambda row, name: (
    100 * row[name][key] / (row['max'][key] if key == 'flops' else 1)
  )

  def draw(ax):
    for y, row in enumerate(rows):
      ordinary, without = value(row, 'ordinary'), value(row, 'without')
      ax.plot([ordinary, without], [y, y], color=canvas.SOFT, linewidth=1)
      ax.plot(value(row, 'max'), y, '|', color=canvas.INK, markersize=12)
      ax.plot(ordinary, y, 'o', color=canvas.ROUTER, markersize=6)
      ax.plot(
        without,
        y,
        'o',
        color=canvas.ROUTER,
        markersize=9,
        markerfacecolor='none',
      )
    ax.set_yticks(
      range(len(rows)), [row['family'] + ' *' * row['left_out'] for row in rows]
    )
    ax.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
    ax.set_xlim(-3, max(105, ax.get_xlim()[1]))  # routing comes on top of max

  return canvas.svg(
    f'routers by family, {key}', 4.5, 0.7 + 0.28 * len(rows), draw
  )


def length(numbers, colours) -> str:
  """Cost against visual tokens, of every curve."""
  lengths, curves = numbers['lengths'], numbers['curves']
  scale, unit = tables.flops_unit(v for c in curves.values() for v in c)

  def draw(ax):
    ax.set(
      xscale='log',
      yscale='log',
      xlabel='visual tokens (log)',
      ylabel=f'{unit} (log)',
      xlim=(lengths[0], lengths[-1] * 3),
    )
    for name, y in curves.items():
      ax.plot(
        lengths,
        [v / scale for v in y],
        label=name,
        color=colours.get(name) or canvas.method(name),
        linestyle='--' if ':' in name else '-',
      )
    ax.legend(frameon=False, fontsize=7.5, loc='upper left', ncols=2)
    ax.xaxis.set_major_formatter(lambda v, _: f'{v:,.0f}')
    ax.yaxis.set_major_formatter(lambda v, _: f'{v:,.6g}')

  return canvas.svg('cost by visual tokens', 4.5, 3.6, draw)


def _cells(ax, values, text, low=0.0):
  """A matrix of numbers from `low` to 1, light where they are high."""
  ramp = colormaps['viridis']
  for y, row in enumerate(values):
    for x, value in enumerate(row):
      if value is not None:
        colour = '#' + ''.join(
          f'{round(255 * c):02x}'
          for c in ramp(min(1.0, max(0.0, (value - low) / (1 - low))))[:3]
        )
        ax.add_patch(
          patches.Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, linewidth=0)
        )
        ax.text(
          x,
          y,
          text(value),
          ha='center',
          va='center',
          fontsize=7.5,
          color=canvas.on(colour),
        )
  ax.set(xlim=(-0.5, len(values) - 0.5), ylim=(len(values) - 0.5, -0.5))
  _bare(ax)


def _layers(ax, kinds):
  """Layers along x with the first letters of their kinds."""
  step = 1 + (len(kinds) > 28)
  ax.set_xticks(
    range(0, len(kinds), step),
    [f'{i}\n{kinds[i][:1].upper()}' for i in range(0, len(kinds), step)],
    fontsize=8 if len(kinds) < 16 else 6,
  )
  ax.set_xlabel('layer')


def _dash(group):
  return dict(linestyle='-' if group == average.GROUPS[-1] else '--')


def _states(one):
  return ['in' if layer is None else str(layer) for layer in one['layers']]


def _nan(value):
  return float('nan') if value is None else value


def _percent(value):
  return 100 * _nan(value)


def _bare(ax):
  ax.grid(False)
  ax.spines[:].set_visible(False)
  ax.tick_params(length=0)
