"""However the layers are computed, the result is one: scanned or written out,
rematerialised or not, plan traced or static, SELF off or TEXT."""

import dataclasses
import itertools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.spec import plan as plans

LETTERS = {'T': plans.TEXT, 'C': plans.CROSS, 'S': plans.SELF, '?': plans.SELF}
LAST = dataclasses.replace(rows.ROUTER, token='last')  # may follow a SELF layer
BATCH = rows.batch(('tvvvtpaa', 'tpa'), ('vvtpaavtpa',))


def draw(figure):
  """Layout of a figure: T text, C cross, S self, ? optional self."""
  return plans.Layout(
    tuple(LETTERS[c] for c in figure),
    tuple(i for i, c in enumerate(figure) if c == '?'),
  )


def tiny(figure, **compute):
  return rows.tiny(draw(figure), router_options=LAST, **compute)


def run(model, plan, static=False):
  """Logits and gradients; `plan` a tuple of bools."""
  params = rows.params(model)
  if static:
    return rows.run(model, plan)(params, BATCH)
  return rows.run(model)(params, BATCH, np.array(plan, bool))


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_gradient_of_a_frequent_token_is_exact(dtype):
  """bfloat16 counts to 256; a newline stands in a batch some thousand times."""
  model = tiny('TC?', dtype=dtype)
  params, tokens = rows.params(model), jnp.full((4, 1000), 7).at[0, 0].set(3)

  def total(params):
    bound = model.bind({'params': params})
    return bound.llm.embed(tokens).astype(jnp.float32).sum()

  gradient = jax.jit(jax.grad(total))(params)['llm']['embedding']
  assert gradient.dtype == jnp.float32
  assert (gradient[7] == 3999).all() and (gradient[3] == 1).all()


def test_rows_of_the_embedding_are_those_of_the_cast_table():
  model = tiny('TC?', dtype='bfloat16')
  params, tokens = rows.params(model), jnp.arange(8)[None]
  rows_ = model.bind({'params': params}).llm.embed(tokens)
  table = params['llm']['embedding'].astype('bfloat16')
  np.testing.assert_array_equal(rows_, table[tokens])


# One result -------------------------------------------------------------------


@pytest.mark.parametrize(
  'figure', ['TC?TC?', '?T?']
)  # the last: no CROSS layer, no such weights, no repeats
def test_scanned_equals_written_out(figure):
  """And remat changes nothing: the two differ in both, for every plan."""
  one = tiny(figure)
  other = tiny(figure, scan=False, remat=False)
  for plan in one.layout.plans:
    rows.close(run(one, plan), run(other, plan))


@pytest.mark.drill
def test_remat_changes_nothing():
  """Alone, so that it cannot hide a fault of the scan above."""
  one, other = tiny('TC?TC?'), tiny('TC?TC?', remat=False)
  for plan in one.layout.plans:
    rows.close(run(other, plan), run(one, plan))


def test_static_equals_traced():
  model = tiny('TC?TC?')
  plan = (True, False)
  rows.close(run(model, plan, static=True), run(model, plan))


@pytest.mark.parametrize(
  'figure,plan',
  [
    ('TC?TC?', (False, True)),
    ('TC?TC?T', (True, True)),  # the rest is TEXT
    ('?TTC?TC', (True, True)),  # a period that starts late
    # Neighbours, and a SELF layer that is not optional:
    ('??S?CCST', (True, False, True)),
    ('??S?CCST', (False, True, False)),
    # Two optional layers and two CROSS layers in a period:
    ('C??CC??C', (True, False, True, True)),
  ],
)
def test_any_kinds_any_plan(figure, plan):
  """Traced and scanned, traced and written out, static: logits only, to save a
  minute."""
  model, out = tiny(figure), tiny(figure, scan=False)
  args = rows.params(model), BATCH
  want = rows.logits(model, plan)(*args)
  rows.close(rows.logits(model)(*args, np.array(plan)), want)
  rows.close(rows.logits(out)(*args, np.array(plan)), want)


@pytest.mark.parametrize('plan', [(False, True), None])
def test_an_image_that_nobody_reads_need_not_be_computed(plan):
  """Answers and gradients are the same, only cheaper; also of the base."""
  one, other = tiny('TC?TC?'), tiny('TC?TC?', last_visual=False)
  there = BATCH.text_segment > 0
  (a, grads), (b, other_grads) = (
    rows.run(m, plan)(rows.params(m), BATCH) for m in (one, other)
  )
  rows.close(b[there], a[there])
  rows.close(other_grads, grads)
  if plan is not None:
    traced = rows.logits(other)(rows.params(other), BATCH, np.array(plan))
    rows.close(traced[there], a[there])


def test_plans_differ():
  """All of the above would hold for a model that ignores its plan."""
  model = tiny('??S?CCST')
  logits = [
    rows.logits(model)(rows.params(model), BATCH, np.array(plan))
    for plan in model.layout.plans
  ]
  there = BATCH.text_segment > 0
  for a, b in itertools.combinations(logits, 2):
    assert np.max(np.abs(np.asarray(a - b)[there])) > 1e-2


@pytest.mark.parametrize(
  'figure,plan', [('TCTTC?', (False, True)), ('TCTTCT', (False, False))]
)
def test_off_is_text(figure, plan):
  """A SELF layer that is off is a TEXT layer with the same weights: the model
  of the figure has TEXT there, and never heard of SELF."""
  model = tiny('TC?TC?')
  on = np.array([bit for bit in plan if bit])
  rows.close(
    run(model, plan), rows.run(tiny(figure))(rows.params(model), BATCH, on)
  )


def test_a_fresh_cross_layer_does_nothing():
  """As the model initialises it: `out` is zero, the rest is not."""
  model, blind = tiny('TC?TC?'), tiny('TT?TT?')
  fresh = nn.meta.unbox(
    rows.jit(lambda key: model.init(key, BATCH, method='init_all'))(
      jax.random.key(0)
    )['params']['llm']['cross']
  )
  assert not fresh['out'].any() and fresh['key'].any()
  params = rows.params(model)
  params = params | {'llm': params['llm'] | {'cross': fresh}}
  plan = np.array([True, False])
  rows.close(
    rows.logits(model)(params, BATCH, plan),
    rows.logits(blind)(params, BATCH, plan),
    1e-6,
  )


def test_bfloat16():
  """The same result but for rounding; logits and gradients stay float32."""
  model, exact = tiny('TC?TC?', dtype='bfloat16'), tiny('TC?TC?')
  plan = np.array([True, False])
  args = rows.params(model), BATCH, plan
  got, want = rows.logits(model)(*args), rows.logits(exact)(*args)
  there = BATCH.text_segment > 0
  error = np.abs(np.asarray(got - want)[there])
  assert 1e-3 < error.max() < 0.1 * np.abs(np.asarray(want)).max()
  for leaf in jax.tree.leaves(jax.eval_shape(rows.run(model), *args)):
    assert leaf.dtype == jnp.float32


def test_bfloat16_logits_are_summed_in_float32():
  """At 20 bfloat16 counts in steps of 1/8: too coarse for a loss."""
  model = tiny('TC?TC?', dtype='bfloat16')
  got = rows.logits(model)(rows.params(model), BATCH, np.array([True, False]))
  assert not np.array_equal(got, got.astype(jnp.bfloat16).astype(jnp.float32))


@pytest.mark.parametrize('layout', [plans.base(2), plans.visor(3, self_=())])
def test_a_layout_without_optional_layers_can_be_made(layout):
  """The base alone, or CROSS without SELF (the paper's '0 SELF, 6 CROSS')."""
  rows.params(rows.tiny(layout, router_options=LAST))


@pytest.mark.parametrize('bits', [1, 3])
def test_a_traced_plan_has_the_models_length(bits):
  """As a static one, which `Layout.check` sees to."""
  model = tiny('TC?TC?')
  with pytest.raises(ValueError, match=f'{bits} optional SELF'):
    jax.eval_shape(
      rows.logits(model), rows.params(model), BATCH, np.ones(bits, bool)
    )


# Work that is skipped ---------------------------------------------------------


def equations(jaxpr, inside=()):
  """All equations of a jaxpr with the path of primitives that hold them; a
  branch of a cond is called cond0 or cond1."""
  for e in jaxpr.eqns:
    yield e, inside
    for name, value in e.params.items():
      for i, sub in enumerate(
        jax.tree.leaves(
          value, is_leaf=lambda x: hasattr(x, 'eqns') or hasattr(x, 'jaxpr')
        )
      ):
        sub = getattr(sub, 'jaxpr', sub)
        if hasattr(sub, 'eqns'):
          label = e.primitive.name + (str(i) if name == 'branches' else '')
          yield from equations(sub, (*inside, label))


def traced(figure, gradient):
  """jaxpr of the traced plan; S = 22 slots occur in SELF layers only."""
  model = tiny(figure)
  f = (rows.run if gradient else rows.logits)(model).__wrapped__
  plan = np.zeros(len(model.layout.optional), bool)
  return list(
    equations(jax.make_jaxpr(f)(rows.params(model), BATCH, plan).jaxpr)
  )


def wide(equation):
  """Does it compute on the S slots of a SELF layer?"""
  s = BATCH.tokens.shape[1] + BATCH.visual_place.shape[1]
  return equation.primitive.name == 'dot_general' and any(
    s in v.aval.shape for v in (*equation.invars, *equation.outvars)
  )


@pytest.mark.parametrize('gradient', [False, True])
@pytest.mark.parametrize('figure', ['TC?TC?', '?TTC?TC'])
def test_a_self_layer_is_one_branch_of_a_cond(figure, gradient):
  """Not a select of two results: what is off is not computed, nor are its
  gradients."""
  branches = [inside for e, inside in traced(figure, gradient) if wide(e)]
  assert branches
  for inside in branches:
    assert 'cond1' in inside and 'cond0' not in inside, inside


def test_a_self_layer_that_is_not_optional_always_runs():
  """The test above can see one that is not in a cond."""
  branches = [inside for e, inside in traced('CTSC?', False) if wide(e)]
  assert {'cond1' in inside for inside in branches} == {True, False}


def test_static_plans_have_no_cond_and_no_layer_that_is_off():
  model = tiny('TC?TC?')

  def jaxpr(plan):
    return list(
      equations(
        jax.make_jaxpr(lambda p: model.apply({'params': p}, BATCH, plan))(
          rows.params(model)
        ).jaxpr
      )
    )

  for plan in model.layout.plans:
    program = jaxpr(plan)
    assert not any(e.primitive.name == 'cond' for e, _ in program)
    assert any(wide(e) for e, _ in program) == any(plan)


def test_one_program_serves_all_plans():
  """And XLA keeps the branch that jax asked for."""
  model = tiny('TC?TC?')
  f = rows.run(model)
  for plan in model.layout.plans:
    run(model, plan)
  assert f._cache_size() == 1
  plan = np.array(model.layout.max)
  compiled = f.lower(rows.params(model), BATCH, plan).compile()
  assert ' conditional(' in compiled.as_text()


def test_a_repeated_period_is_compiled_once():
  """A deeper model has no larger program."""

  def count(figure):
    return len(traced(figure, False))

  assert count('TC?' * 2) == count('TC?' * 3) == count('TC?' * 4)
  assert count('TC?TC?T') > count('TC?TC?')
