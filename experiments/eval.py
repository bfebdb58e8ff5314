"""A checkpoint on the paper's benchmarks.

  python -m visor_jax.main --workdir=W --checkpoint=CKPT \
      --config=experiments/eval.py:benchmarks=hard,plans=all+router \
      --config.eval.data=BENCHMARKS

CKPT is what `convert import` wrote, with plans=base, or the workdir of a run.
BENCHMARKS holds a folder for each benchmark, docvqa, mme and so on, with the
hub's parquet files or shards of python -m visor_jax.benchmarks; benchmarks are
easy, hard, all, or names joined by +.

Hardware and hours: not yet run on published weights.
Expected, LLaVA-OneVision 0.5B: 61.5 on the easy and 57.1 on the hard ones with
plan base; 63.6 and 58.4 with VISOR's router.
"""

from visor_jax import config


def get_config(arg=None):
  arg = config.parse_arg(
    arg, benchmarks='all', plans='base+all+router', jobs='all'
  )
  c = config.default()
  c.jobs = 'eval+report' if arg.jobs == 'all' else arg.jobs
  c.model.dtype = 'bfloat16'
  c.data.suite = ''
  # The largest image: 1.21 times nine tiles, 162 newlines, the base view. With
  # the text 88 * 128 slots, so that an eighth is in blocks of 128, as kernels
  # work.
  c.data.prompt.update(text=2048, visual=9216, tiles=40)
  c.eval.benchmarks = arg.benchmarks
  c.eval.plans = arg.plans
  c.eval.examples = 1_000_000  # all there are
  c.eval.max_new_tokens = 1024  # no benchmark allows more
  c.eval.batch, c.eval.chunk = 16, 1024
  return c
