import jax
import jax.numpy as jnp

from visor_jax.models import params


def test_gradients_of_layers_are_stacked_in_the_dtype_computed_in():
  """And are those of weights that are cast layer by layer, bit by bit."""
  stack = {'kernel': jax.random.normal(jax.random.key(0), (3, 8, 8))}
  x = jax.random.normal(jax.random.key(1), (4, 8), 'bfloat16')

  def loss(stack, prepare):
    def body(x, weights):
      weights = params.cast(weights, 'bfloat16')
      return jnp.tanh(x @ weights['kernel']), None

    return jax.lax.scan(body, x, prepare(stack))[0].astype('float32').sum()

  def late(stack):
    return params.uncast(stack, 'bfloat16')

  def stacked(prepare):
    jaxpr = jax.make_jaxpr(jax.grad(loss), static_argnums=1)(stack, prepare)
    loop = [e for e in jaxpr.eqns if e.primitive.name == 'scan'][-1]
    return {str(v.aval.dtype) for v in loop.outvars if v.aval.ndim == 3}

  assert stacked(late) == {'bfloat16'}
  assert stacked(lambda x: x) == {'float32'}  # as it would be
  value, gradient = jax.value_and_grad(loss)(stack, late)
  of_value, of_gradient = jax.value_and_grad(loss)(stack, lambda x: x)
  assert value == of_value
  assert gradient['kernel'].dtype == 'float32'
  assert (gradient['kernel'] == of_gradient['kernel']).all()
  assert (gradient['kernel'] != 0).all()
