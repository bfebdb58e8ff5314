"""The table of costs: against the formulas, and what it refuses."""

import json
import pathlib
import re

import pytest

from tests.flops import cost_test
from visor_jax.families import table as families
from visor_jax.flops import __main__ as command
from visor_jax.flops import accounting
from visor_jax.flops import cost as flops

# LLaVA-OneVision makes 7353 tokens of 31 tiles of a page at 200 dpi.
PAGE = ('--size=0.5b', '--image=2200x1700', '--text=60')


def rows(capsys, *args):
  assert command.main([*args, '--json']) == 0
  return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_published_ratio_of_a_page(capsys):
  """91x, the table in paper.md."""
  table = rows(capsys, *PAGE, '--plans=base+min')
  assert [r['plan'] for r in table] == [None, [0] * 8]
  assert table[1]['flops_saved'] == pytest.approx(91, abs=0.05)
  assert table[0]['flops_saved'] == 1


@pytest.mark.parametrize('name', ['nominal', 'executed'])
def test_rows_are_the_formulas(capsys, name):
  model = cost_test.released('1.5b')
  layout = model.layout
  table = rows(
    capsys,
    '--size=1.5b',
    '--visual=700',
    '--text=33',
    '--plans=base+max+0,2+min',
    f'--accounting={name}',
  )

  def bits(*on):
    return tuple(i in on for i in range(len(layout.optional)))

  for row, plan in zip(
    table, (None, layout.max, bits(0, 2), bits()), strict=True
  ):
    want = flops.cost(model, plan, 700, 33, accounting.ACCOUNTINGS[name])
    assert (row['llm_prefill'], row['total']) == (want.llm_prefill, want.total)
    assert row['vision'] == 0  # of tokens alone nobody knows the tiles
    assert row['plan'] == (plan and [int(on) for on in plan])
    assert row['cache_bytes'] == sum(flops.cache(model, plan, 700, 33, 2))


def test_token_reduction_is_of_the_base(capsys):
  table = rows(
    capsys,
    '--size=0.5b',
    '--visual=576',
    '--plans=base+min',
    '--reduce=visionzip-64+fastv',
  )
  assert [r['method'] for r in table] == [
    '',
    '',
    'visionzip:1/9',
    'fastv:2:0.5',
  ]
  for row in table[2:]:
    model = cost_test.released('0.5b', reduction=row['method'])
    want = flops.cost(model, None, 576, 60)
    assert row['llm_prefill'] == want.llm_prefill > want.rating > 0
    assert row['flops_saved'] == table[0]['llm_prefill'] / want.llm_prefill
    assert row['cache_bytes'] < table[0]['cache_bytes']


def test_all_is_one_plan_of_every_number_of_layers(capsys):
  table = rows(capsys, *PAGE, '--plans=all')
  assert [r['self_layers'] for r in table] == list(range(9))
  cost = [r['llm_prefill'] for r in table]
  assert cost == sorted(set(cost))
  assert all(0 < r['routing'] < r['llm_prefill'] for r in table)


def test_all_accountings_side_by_side(capsys):
  """The formula alone moves 91x to 38x; with the tower it is 1.4x."""
  table = rows(capsys, *PAGE, '--plans=base+min', '--accounting=all')
  assert set(table[0]['saved'].values()) == {1.0}
  assert {*table[1]['saved']} == {*accounting.ACCOUNTINGS}
  assert table[1]['saved']['nominal'] == table[1]['flops_saved']
  assert table[1]['saved']['macs'] == pytest.approx(91, abs=0.05)
  assert round(table[1]['saved']['fastv']) == 38
  assert table[1]['whole_saved']['nominal'] == table[1]['total_saved']
  assert 1.3 < table[1]['total_saved'] < 1.4
  assert 'torchtitan' not in table[1]['whole_saved']
  assert command.main([*PAGE, '--accounting=all']) == 0
  output = capsys.readouterr().out
  assert 'sparsevlm' in output and '42.04x' in output
  assert all(a.describe() in output for a in accounting.ACCOUNTINGS.values())


def test_the_image_takes_what_the_prompt_alone_does_not(capsys):
  table = rows(capsys, '--visual=700', '--plans=base+max+min')
  alone = rows(capsys, '--visual=0', '--plans=base+max+min')
  for with_image, without in zip(table, alone):
    assert (
      with_image['visual'] + without['llm_prefill']
      == (with_image['llm_prefill'])
    )
    assert without['visual'] == 0


@pytest.mark.parametrize(
  'args,match',
  [
    (('--image=2200',), 'HEIGHTxWIDTH'),
    (('--image=0x9',), 'HEIGHTxWIDTH'),
    (('--visual=-1',), 'no less than no image'),
    (('--visual=9', '--text=0'), 'some text'),
    (('--visual=9', '--size=9b'), 'model.size is "9b"'),
    (('--visual=9', '--plans=router'), 'column routing'),
    (('--visual=9', '--plans=99'), '99'),
  ],
)
def test_what_cannot_be_is_refused(capsys, args, match):
  assert command.main(list(args)) == 1
  assert match in capsys.readouterr().err


@pytest.mark.parametrize(
  'size,image,line',
  [
    ('fastvlm-0.5b', '480x640', '68% of the base, .*: end to end 1.35x'),
    ('fastvlm-0.5b', '2200x1700', '68% of the base, .*: end to end 1.35x'),
    ('qwen2-vl-2b', '480x640', '67% of the base, .*: end to end 1.40x'),
    ('qwen2-vl-7b', '2200x1700', '56% of the base, .*: end to end 1.78x'),
    ('0.5b', '2200x1700', '72% of the base, .*: end to end 1.38x'),
  ],
)
def test_where_the_tower_is_what_costs_the_first_line_says_so(
  capsys, size, image, line
):
  assert command.main([f'--size={size}', f'--image={image}']) == 0
  first = capsys.readouterr().out.splitlines()[0]
  assert re.search(line, first), first


@pytest.mark.parametrize('size', ['fastvlm-1.5b', '7b'])
def test_elsewhere_it_does_not(capsys, size):
  assert command.main([f'--size={size}', '--image=480x640']) == 0
  assert capsys.readouterr().out.startswith(f'{size}: ')


def test_the_table_in_the_readme_is_what_it_says(capsys):
  text = (pathlib.Path(__file__).parents[2] / 'README.md').read_text()
  table = re.findall(
    r'^\| ([\w.-]+b) \| (\w+) \| (.*) T \| (.*) T \| (.*)x \| (.*)x \|$',
    text,
    re.M,
  )
  sizes = [
    size for family in families.FAMILIES.values() for size in family.sizes
  ]
  assert list(dict.fromkeys(row[0] for row in table)) == sizes
  for size, image, *numbers in table:
    image = '1x1' if image == 'any' else image
    base, least = rows(
      capsys, f'--size={size}', f'--image={image}', '--plans=base+min'
    )
    parts = base['vision'] / 1e12, base['llm_prefill'] / 1e12
    saved = f'{least["total_saved"]:.2f}', f'{least["flops_saved"]:.1f}'
    assert numbers == [*(f'{part:.2f}' for part in parts), *saved], size


@pytest.mark.parametrize(
  'size,image,side,tokens',
  [
    ('0.5b', (1536, 1152), 768, 729 + 54 * 41),
    ('fastvlm-0.5b', (1536, 1152), 512, 64),
    ('qwen2-vl-2b', (1536, 1152), 768, 27 * 21),
  ],
)
def test_a_smaller_image_costs_what_it_becomes(
  capsys, size, image, side, tokens
):
  pixels, halved = (
    'x'.join(map(str, lengths))
    for lengths in (image, (side, side * image[1] // image[0]))
  )
  original, reduced = rows(
    capsys,
    f'--size={size}',
    f'--image={pixels}',
    '--plans=base',
    f'--reduce=resize:{side}',
  )
  (smaller,) = rows(
    capsys, f'--size={size}', f'--visual={tokens}', '--plans=base'
  )
  assert reduced['llm_prefill'] == smaller['llm_prefill']
  assert (
    reduced['flops_saved'] == original['llm_prefill'] / smaller['llm_prefill']
  )
  assert reduced['vision'] < 0.6 * original['vision']
  if size != 'fastvlm-0.5b':
    (given,) = rows(
      capsys, f'--size={size}', f'--image={halved}', '--plans=base'
    )
    assert reduced['total'] == given['total']
