"""Each private name of jax is still where runtime/jax_private.py looks."""

import ast
import functools
import importlib
import inspect

import jax
import pytest

from visor_jax.runtime import jax_private

# (module, name in it): what jax_private imports, and what it calls there.
NAMES = (
  ('jax._src.clusters', 'ClusterEnv.auto_detect_unset_distributed_params'),
  ('jax._src.distributed', 'global_state.client'),
)
CLIENT = ('jax._src.lib', '_jax.DistributedRuntimeClient')


def resolve(module, name):
  """The object of that name, or a failure that says what is not there."""
  try:
    return functools.reduce(
      getattr, name.split('.'), importlib.import_module(module)
    )
  except (ImportError, AttributeError) as e:
    pytest.fail(f'jax {jax.__version__} moved {module}.{name}: {e}')


@pytest.mark.parametrize('module,name', NAMES)
def test_a_private_name_of_jax_is_where_it_was(module, name):
  resolve(module, name)


def test_no_other_private_module_is_imported():
  tree = ast.parse(inspect.getsource(jax_private))
  imported = {
    f'{node.module}.{alias.name}'
    for node in ast.walk(tree)
    if isinstance(node, ast.ImportFrom) and node.module.startswith('jax.')
    for alias in node.names
  }
  assert imported == {module for module, _ in NAMES}


def test_detection_takes_the_same_arguments():
  function = resolve(*NAMES[0])
  assert list(inspect.signature(function).parameters) == [
    'coordinator_address',
    'num_processes',
    'process_id',
    'local_device_ids',
    'cluster_detection_method',
    'initialization_timeout',
  ]


@pytest.mark.parametrize(
  'method', ['key_value_set', 'key_value_dir_get', 'wait_at_barrier']
)
def test_the_client_has_its_methods(method):
  module, name = CLIENT
  resolve(module, f'{name}.{method}')
  assert hasattr(jax_private.CoordinationClient, method)


def test_a_process_that_is_alone_has_no_client():
  with pytest.raises(RuntimeError, match='jax.distributed is not initialized'):
    jax_private.coordination_client()
