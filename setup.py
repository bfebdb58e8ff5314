"""Installs visor_jax: `pip install -e .`, with extras (below).

A wheel carries experiments/ and launch/ too, in visor_jax/share; where they are
is what `visor-jax where` prints.
"""

import pathlib

import setuptools

SHARED = {f'visor_jax.share.{name}': name for name in ('experiments', 'launch')}

setuptools.setup(
  name='visor_jax',
  version='0.1.0',
  description='VISOR (VISion On Request) in JAX: vision-language models '
  'whose cost follows the question.',
  long_description=pathlib.Path('README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  author='The visor_jax authors',
  license_expression='Apache-2.0',
  license_files=['LICENSE'],
  keywords=['jax', 'flax', 'vision-language models', 'efficient inference'],
  classifiers=[
    'Development Status :: 3 - Alpha',
    'Environment :: Console',
    'Environment :: GPU :: NVIDIA CUDA',
    'Intended Audience :: Science/Research',
    'Operating System :: POSIX :: Linux',
    'Programming Language :: Python :: 3',
    'Programming Language :: Python :: 3.11',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
    'Typing :: Typed',
  ],
  packages=[*setuptools.find_packages(include=['visor_jax*']), *SHARED],
  package_dir=SHARED,
  package_data={
    'visor_jax': ['py.typed', 'families/*/torch/*.py', 'serve/*.html'],
    '': ['*.sh', 'Dockerfile.*'],
  },
  python_requires='>=3.11',
  entry_points={
    'console_scripts': ['visor-jax = visor_jax.__main__:main'],
    # How lmms-eval finds its model `visor_jax`.
    'lmms_eval.models': ['visor_jax = visor_jax.lmms:manifest'],
  },
  install_requires=[
    'absl-py',
    'array_record',
    'chex',
    'flax>=0.12',
    'grain>=0.2.18',
    # runtime/jax_private.py imports private names, which 0.10 to 0.12 have.
    'jax>=0.10,<0.13',
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
      'flask-cors',
      'gcp-storage-emulator',
      'gcsfs',
      'jax[cuda13-local]',  # what is compiled for GPUs is looked at
      'moto[s3]',
      'mypy',
      'openai',
      'prometheus_client',
      'pytest',
      'pytest-xdist',
      'ruff',
      's3fs',
      'safetensors',
      'setuptools>=77',
      'starlette',
      'tensorboardX',
      'tensorflow-datasets',
      'torch==2.13.0',
      'transformers==5.23.0',
      'universal-pathlib',
      'uvicorn',
      'wandb',
    ],
    'hub': ['huggingface_hub'],
    'real': ['gguf', 'onnx'],  # what weights in wheels are read with
    'serve': ['prometheus_client', 'starlette', 'uvicorn'],
    # Buckets: gs:// and s3://.
    'stores': ['gcsfs', 's3fs', 'universal-pathlib'],
    'tfds': ['tensorflow-datasets'],
    'tensorboard': ['tensorboardX'],
    'wandb': ['wandb'],
    'cuda': ['jax[cuda13]'],
    'tpu': ['jax[tpu]'],
    # The compiler for TPUs, libtpu, at the version that jax pins.
    'preflight': ['jax[tpu]'],
    # That for NVIDIA GPUs, two wheels, without CUDA.
    'preflight-gpu': ['jax[cuda13-local]'],
  },
)
