"""FLOPs of kernels, by hand."""

import pytest

from visor_jax.preflight import products

GPU = ['bf16[2048,14,64]{2,1,0}', *2 * ['bf16[2048,2,64]{2,1,0}']]
TPU = ['s8[1,16,16]', *3 * ['bf16[4,2048,128]{2,1,0:T(8,128)(2,1)S(1)}']]
CROSS = ['bf16[2,256,14,64]{3,2,1,0}', *2 * ['bf16[2,2048,2,64]{3,2,1,0}']]
SUM = 'f32[14,2048]{1,0}'  # of a softmax


@pytest.mark.parametrize(
  'result,operands,want',
  [
    # Forward: two products of half a square.
    (f'({GPU[0]}, {SUM}, {SUM})', GPU, 2 * 2048**2 * 14 * 64),
    (f'({TPU[-1]}, f32[4,2048,128]{{2,1,0}})', TPU, 2 * 4 * 2048**2 * 128),
    (CROSS[0], CROSS, 2 * 2 * 2 * 256 * 2048 * 14 * 64),
    # Backward: scores, their gradient, and that of queries, of keys and values.
    (GPU[0], [*GPU, SUM, GPU[0]], 3 * 2048**2 * 14 * 64),
    (f'({GPU[0]}, {GPU[0]})', [*GPU, GPU[0], SUM], 4 * 2048**2 * 14 * 64),
    (f'({TPU[-1]}, {TPU[-1]})', [*TPU, TPU[-1]], 4 * 4 * 2048**2 * 128),
    # No attention.
    ('bf16[8,8]{1,0}', ['bf16[8,8]{1,0}'] * 3, None),
    (GPU[0], GPU[:2], None),
  ],
)
def test_a_kernel_of_attention(result, operands, want):
  assert products.attention(result, operands) == want


def test_a_call_of_cublas():
  settings = (
    'custom_call_target="__cublas$lt$matmul", backend_config={'
    '"gemm_backend_config":{"dot_dimension_numbers":{'
    '"lhs_contracting_dimensions":["2"],"rhs_contracting_dimensions":["1"],'
    '"lhs_batch_dimensions":["0"],"rhs_batch_dimensions":["0"]}}}'
  )
  flops = products.dot(
    '(bf16[6,8,32]{2,1,0}, s8[33554432]{0})', 'bf16[6,8,16]{2,1,0}', settings
  )
  assert flops == 2 * 6 * 8 * 16 * 32
