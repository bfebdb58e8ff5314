"""Installs visor_jax: `pip install -e .`, with extras (below)."""

import setuptools

setuptools.setup(
  name='visor_jax',
  version='0.1.0',
  description='VISOR (VISion On Request) in JAX: vision-language models '
  'whose cost follows the question.',
  packages=setuptools.find_packages(include=['visor_jax', 'visor_jax.*']),
  python_requires='>=3.11',
  # How lmms-eval finds its model `visor_jax`.
  entry_points={'lmms_eval.models': ['visor_jax = visor_jax.lmms:manifest']},
  install_requires=[
    'absl-py',
    'array_record',
    'chex',
    'flax>=0.12',
    'grain>=0.2.18',
    'jax>=0.10',
    'jinja2',
    'matplotlib',
    'ml-collections>=1.0',
    'ml-dtypes',
    'numpy',
    'optax',
    'orbax-checkpoint>=0.11',
    'pillow',
    'pyarrow',
    'pyyaml',
    'scikit-learn',
    'scipy',
    'tokenizers',
  ],
  extras_require={
    # transformers is the oracle that the model is held against.
    'test': [
      'pytest',
      'pytest-xdist',
      'ruff',
      'safetensors',
      'tensorboardX',
      'tensorflow-datasets',
      'torch==2.13.0',
      'transformers==5.23.0',
    ],
    'hub': ['huggingface_hub'],
    'tfds': ['tensorflow-datasets'],
    'tensorboard': ['tensorboardX'],
    'cuda': ['jax[cuda13]'],
    'tpu': ['jax[tpu]'],
    # The compiler for TPUs, libtpu, at the version that jax pins.
    'preflight': ['jax[tpu]'],
  },
)
