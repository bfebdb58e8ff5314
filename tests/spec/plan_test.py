"""Plans are plain Python: what they say, how they are written and drawn."""

import collections
import itertools
import random

import pytest

from visor_jax.spec import plan as plans

T, C, S = plans.TEXT, plans.CROSS, plans.SELF
LETTERS = {'T': T, 'C': C, 'S': S, '?': S}


def draw(figure):
  """Layout of a figure: T text, C cross, S self, ? optional self."""
  return plans.Layout(
    tuple(LETTERS[c] for c in figure),
    tuple(i for i, c in enumerate(figure) if c == '?'),
  )


def figure(layout):
  return ''.join(
    '?' if i in layout.optional else kind[0].upper()
    for i, kind in enumerate(layout.kinds)
  )


# Layouts ----------------------------------------------------------------------


@pytest.mark.parametrize(
  'depth,expected',
  [
    (1, 'T'),
    (2, 'TT'),
    (3, 'TC?'),
    (6, 'TC?TC?'),
    (7, 'TC?TC?T'),
    (8, 'TC?TC?TT'),
    (24, 'TC?' * 8),
    (28, 'TC?' * 9 + 'T'),
  ],
)
def test_visor_by_default(depth, expected):
  assert figure(plans.visor(depth)) == expected


def test_visor_by_choice():
  assert figure(plans.visor(6, (0, 5), (3, 1))) == 'C?T?TC'
  assert figure(plans.visor(4, (), ())) == 'TTTT'
  assert figure(plans.visor(6, cross=[0, 3])) == 'CT?CT?'
  assert figure(plans.visor(6, self_=[0])) == '?CTTCT'
  assert plans.visor(6, (), (5, 1)).optional == (1, 5)  # in order of depth
  assert figure(plans.base(3)) == 'SSS'


@pytest.mark.parametrize(
  'cross,self_,message',
  [
    ((6,), (), r'model\.cross_layers names layer 6.* 0 to 5'),
    ((), (-1,), r'model\.self_layers names layer -1.* 0 to 5'),
    ((1, 2), (2, 3), r'layer 2 .*cross_layers.*self_layers'),
    ((1, 1), (), 'layer 1 is named twice'),
    (None, (1,), 'layer 1 is named twice'),
  ],
)
def test_visor_errors_name_the_key(cross, self_, message):
  with pytest.raises(ValueError, match=message):
    plans.visor(6, cross, self_)


def test_only_self_layers_are_optional():
  with pytest.raises(ValueError, match='layer 1 is cross, not self'):
    plans.Layout((T, C, S), (1,))


@pytest.mark.parametrize('optional', [(2, 0), (0, 0), (-1,)])
def test_optional_layers_are_in_order_of_depth(optional):
  """A traced plan's bits are dealt out by depth, a static plan's by this list:
  out of order the two would run different layers."""
  with pytest.raises(ValueError, match='order|twice|-1'):
    plans.Layout((S, T, S), optional)


def test_plans_are_all_those_with_fewer_layers_first():
  layout = draw('?T??')
  figures = [''.join('-x'[on] for on in plan) for plan in layout.plans]
  assert figures == ['---', 'x--', '-x-', '--x', 'xx-', 'x-x', '-xx', 'xxx']
  assert layout.plans[0] == layout.min and layout.plans[-1] == layout.max
  assert draw('TCS').plans == ((),) and draw('TCS').max == ()
  assert len(set(plans.visor(24).plans)) == 256


def test_fix():
  """What is off is TEXT, what is on is SELF, nothing is optional any more."""
  layout = draw('TC?S?')
  assert figure(layout.fix((False, True))) == 'TCTSS'
  assert figure(layout.fix(layout.min)) == 'TCTST'
  assert layout.fix(layout.max).optional == ()
  with pytest.raises(ValueError, match=r'of 3 optional.*has 2 .*\(2, 4\)'):
    layout.fix((True,) * 3)


def test_indices():
  layout = draw('TC?SC')
  assert [layout.indices(k) for k in (T, C, S)] == [(0,), (1, 4), (2, 3)]


# Repeats ----------------------------------------------------------------------


def covered(layout, start, stop):
  """Kinds as the repeats give them, one period said `count` times."""
  what = figure(layout)
  for r in plans.repeats(layout, start, stop):
    yield r, what[r.start : r.start + r.period] * r.count


@pytest.mark.parametrize('seed', range(40))
def test_repeats_cover_every_layer_once(seed):
  """Any depth, any kinds, any part of the layers: in order, and the layers of
  a repeat are alike."""
  rng = random.Random(seed)
  depth = rng.randint(1, 14)
  layout = draw(rng.choices('TCS?', k=depth))
  start = rng.randint(0, depth)
  stop = rng.randint(start, depth)
  repeats = list(covered(layout, start, stop))
  assert ''.join(kinds for _, kinds in repeats) == figure(layout)[start:stop]
  at = start
  for r, _ in repeats:
    assert r.start == at and r.period > 0 and r.count > 0
    at += r.period * r.count
  assert at == stop


def written(layout, start=0, stop=None):
  """How many layers the program spells out."""
  stop = len(layout.kinds) if stop is None else stop
  return sum(r.period for r in plans.repeats(layout, start, stop))


@pytest.mark.parametrize('depth', [*range(6, 13), 24, 28])
def test_a_period_of_three_is_written_once(depth):
  """Three layers and the rest, from the start; from the first SELF layer on,
  where `finish` takes over, no more than a layer besides."""
  layout = plans.visor(depth)
  assert written(layout) == 3 + depth % 3
  assert written(layout, 2) <= 4 + depth % 3
  assert written(plans.base(depth)) == 1
  assert written(layout.fix(layout.min)) == 3 + depth % 3


def test_repeats_are_the_best_there_are():
  """No single stretch would leave fewer layers: tried by hand."""
  for kinds in itertools.product('TC?', repeat=6):
    layout, best = draw(kinds), 6
    for begin, period in itertools.product(range(6), range(1, 4)):
      for count in range(2, 7):
        end = begin + period * count
        if (
          end <= 6 and kinds[begin:end] == kinds[begin : begin + period] * count
        ):
          best = min(best, 6 - period * (count - 1))
    assert written(layout) == best, kinds


def test_optional_and_fixed_self_layers_are_not_alike():
  assert written(draw('S?S?')) == 2
  assert written(draw('SS??')) == 3


# The grammar ------------------------------------------------------------------

SIX = draw('??????')


def names(text, layout=SIX, viable=None):
  return [str(s) for s in plans.parse(text, layout, viable)]


@pytest.mark.parametrize(
  'text,expected',
  [
    ('base', ['base']),
    ('router', ['router']),
    ('max', ['max']),
    ('min', ['min']),
    ('0,3,5', ['0,3,5']),
    ('5,0,3', ['0,3,5']),
    ('2', ['2']),
    ('2,2', ['2']),
    ('0,1,2,3,4,5', ['max']),
    ('min + 0, 2+max', ['min', '0,2', 'max']),
    ('router@0.3+router@.5+router@1', ['router@0.3', 'router@0.5', 'router@1']),
    ('router@.60total+router@0.6', ['router@0.6total', 'router@0.6']),
    ('router-0.01+router-0', ['router-0.01', 'router-0']),
    ('max+min', ['max', 'min']),  # in the order of the text
    ('max+0+max', ['max', '0']),
  ],
)  # each once
def test_parse(text, expected):
  assert names(text) == expected


def test_parse_gives_selections():
  assert plans.parse('base+0', draw('?T?')) == (
    plans.Selection('base'),
    plans.Selection('fixed', (True, False)),
  )
  assert plans.parse('router@0.3+router-0.01', draw('?')) == (
    plans.Selection('router', budget=0.3),
    plans.Selection('router', drop=0.01),
  )


def test_all_means_the_viable_plans():
  viable = [(False, False), (True, True)]
  assert names('all', draw('??'), viable) == ['min', 'max']
  assert names('0+all', draw('??'), viable) == ['0', 'min', 'max']
  assert names('all+min', draw('??'), [list(p) for p in viable]) == [
    'min',
    'max',
  ]  # as read from a JSON file
  with pytest.raises(ValueError, match='"all".*search'):
    names('all')


def test_viable_plans_of_another_model_are_an_error():
  with pytest.raises(ValueError, match='3 optional'):
    names('all', draw('??'), [(True, True, True)])


@pytest.mark.parametrize(
  'text,message',
  [
    ('', 'plan "" is none of base, max, min, router, all'),
    ('most', 'plan "most" is none of .*positions.*6 optional'),
    ('max+', 'plan "" is none of'),
    ('0;1', 'plan "0;1" is none of'),
    ('0,,1', 'plan "0,,1" is none of'),
    ('0.5', 'plan "0.5" is none of'),
    ('6', 'plan "6" names .*layer 6; the model has 6, counted from 0'),
    ('router@', 'plan "router@": expected router@0.3'),
    ('router@0', 'budget above 0'),
    ('router@0.6tower', 'router@0.6total, of its FLOPs end to end'),
    ('router-0.1total', 'budget above 0'),
    ('router@-1', 'budget above 0'),
    ('router@nan', 'budget above 0'),
    ('router-1.5', 'from 0 to 1'),
    ('router-x', 'router-0.01'),
    ('router0.3', 'is none of'),
    ('0,-1', 'plan "0,-1" names .*layer -1'),
  ],
)
def test_parse_errors_name_what_was_written(text, message):
  with pytest.raises(ValueError, match=message):
    names(text)


@pytest.mark.parametrize(
  'layout', [draw('?'), draw('???'), draw('TC')], ids=figure
)
def test_name_and_parse_are_inverse(layout):
  for plan in layout.plans:
    assert plans.parse(plans.name(plan), layout) == (
      plans.Selection('fixed', plan),
    )


# Which plan at which step -----------------------------------------------------

VIABLE = [(True, True), (False, False), (True, False), (False, True)]


def test_plan_at_is_a_pure_function():
  """Of seed and step, in any process: these values are written down."""
  viable = [(True, True), (False, False), (True, False)]
  drawn = lambda seed: ' '.join(
    plans.name(plans.plan_at(seed, i, viable, 0.25)) for i in range(12)
  )
  random.seed(1)
  first = drawn(0)
  random.seed(2)
  assert drawn(0) == first == ('max min 0 0 0 max max min 0 min max max')
  assert drawn(1) != first
  assert plans.plan_at(0, 5, viable[::-1], 0.25) == (
    plans.plan_at(0, 5, viable, 0.25)
  )


@pytest.mark.parametrize('share', [0.0, 0.25, 1.0])
def test_plan_at_draws_the_largest_with_its_share(share):
  """Plus its share of the rest; all others alike."""
  n = 8000
  count = collections.Counter(
    plans.plan_at(3, i, VIABLE, share) for i in range(n)
  )
  assert set(count) <= set(VIABLE)
  for plan in VIABLE:
    p = (1 - share) / 4 + (share if all(plan) else 0)
    assert abs(count[plan] - n * p) <= 4 * (n * p * (1 - p)) ** 0.5


def test_plan_at_is_not_correlated_from_step_to_step():
  n = 8000
  drawn = [plans.plan_at(0, i, VIABLE, 0) for i in range(n + 1)]
  pairs = collections.Counter(zip(drawn, drawn[1:]))
  assert len(pairs) == 16
  assert all(abs(c - n / 16) < 4.5 * (n / 16) ** 0.5 for c in pairs.values())


def test_plan_at_gives_what_a_model_takes():
  """A tuple of bools also where the viable plans were read from JSON."""
  plan = plans.plan_at(0, 0, [[True, False]], 0)
  assert plan == (True, False) and isinstance(plan, tuple)
