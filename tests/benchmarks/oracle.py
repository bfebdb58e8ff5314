"""What lmms-eval says of the pairs of pairs.py, frozen into oracle.json.gz.

  python -m venv ORACLE
  ORACLE/bin/pip install --no-deps lmms-eval==0.7.3
  ORACLE/bin/pip install <what its imports lack; a CPU build of torch is enough>
  ORACLE/bin/python tests/benchmarks/oracle.py

The harness's own tasks are built from its own files, on a local table of one
question instead of the hub's, and asked as its evaluator asks them: prompt,
filters, process_results, aggregation. Two things are ours: Python's random
state is set by the question's id before each answer of MMMU, where the harness
goes on from answer to answer, and the sum of OCRBench starts at 0 each time,
where the harness adds to a dict of the module.
"""

import contextlib
import gzip
import io
import json
import os
import pathlib
import random
import sys
import tempfile
import types

import datasets
import loguru
import pandas
import PIL.Image

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

from lmms_eval import tasks as harness  # noqa: E402
from lmms_eval import utils  # noqa: E402
from lmms_eval.api import task as task_lib  # noqa: E402
from lmms_eval.tasks.mmbench import en_utils  # noqa: E402
import pairs  # noqa: E402

ROOT = pathlib.Path(harness.__file__).parent
TASKS = dict(
  docvqa='docvqa/docvqa_val',
  infovqa='infovqa/infovqa_val',
  chartqa='chartqa/chartqa',
  textvqa='textvqa/textvqa_val',
  ocrbench='ocrbench/ocrbench',
  ai2d='ai2d/ai2d',
  gqa='gqa/gqa',
  pope='pope/pope',
  scienceqa='scienceqa/scienceqa_img',
  mme='mme/mme',
  mmbench='mmbench/mmbench_en_dev_static',
  mmstar='mmstar/mmstar',
  realworldqa='realworldqa/realworldqa',
  seedbench='seedbench/seedbench',
  mmmu='mmmu/mmmu_val',
)
# Where process_results gives no number, how aggregation makes one.
METRIC = dict(
  docvqa='anls',
  infovqa='anls',
  chartqa='relaxed_overall',
  textvqa='exact_match',
  ai2d='exact_match',
  gqa='exact_match',
  scienceqa='exact_match',
  realworldqa='exact_match',
  mmmu='mmmu_acc',
  seedbench='seed_all',
  ocrbench='ocrbench_accuracy',
  pope='pope_accuracy',
  mmstar='average',
)


def task(name, fields, folder):
  """The harness's task on a table of one question."""
  image = PIL.Image.new('RGB', (8, 8))
  images = {'image': [image] if name == 'seedbench' else image}
  if name == 'mmmu':
    images = {f'image_{i}': image for i in range(1, 8)}
  config = utils.load_yaml_config(ROOT / f'{TASKS[name]}.yaml', mode='full')
  table = folder / f'{name}.parquet'
  datasets.Dataset.from_list([fields | images]).to_parquet(table)
  config |= dict(
    dataset_path='parquet',
    dataset_name=None,
    process_docs=None,
    dataset_kwargs=dict(data_files={config['test_split']: str(table)}),
  )
  return task_lib.ConfigurableTask(config=config)


def values(made, fields, answer):
  """What process_results makes of an answer, as the evaluator asks it."""
  instance = types.SimpleNamespace(resps=[answer], filtered_resps={})
  for each in made._filters:
    each.apply([instance], [fields])
  (filtered,) = instance.filtered_resps.values()
  if fields.get('id'):
    random.seed(fields['id'])
  return made.process_results(json.loads(json.dumps(fields)), [filtered])


def score(name, made, fields, found):
  if name == 'mmbench':
    (row,) = pandas.DataFrame([found['gpt_eval_score']]).to_dict('records')
    return en_utils.mmbench_evaluator.eval_sub_data(
      pandas.DataFrame([row]),
      {fields['index']: fields['answer']},
      static_only=True,
    )
  if name == 'mme':
    (value,) = found.values()
    return value['score']
  value = found[METRIC[name]]
  return (
    value
    if isinstance(value, (int, float))
    else total(made, METRIC[name], [value])
    * (1000 if name == 'ocrbench' else 1)
  )


def total(made, metric, some):
  """A metric of all answers."""
  aggregate = made.aggregation()[metric]
  sums = getattr(aggregate, '__globals__', {}).get('OCRBench_score', {})
  sums.update(dict.fromkeys(sums, 0))
  try:
    return float(aggregate(some))
  except TypeError:
    return float(aggregate(some, types.SimpleNamespace(output_path='.')))


def judge(name, folder):
  asked = pairs.make(name)
  made = task(name, asked[0][0], folder)
  out = dict(
    task=TASKS[name].split('/')[1],
    asked=asked,
    prompts=[made.doc_to_text(fields) for fields, _ in asked],
    tokens=made.config.generation_kwargs.get('max_new_tokens'),
  )
  found = [
    [values(made, fields, a) for a in answers] for fields, answers in asked
  ]
  out['scores'] = [
    [round(float(score(name, made, fields, f)), 12) for f in some]
    for (fields, _), some in zip(asked, found)
  ]
  out['totals'] = []
  for run in zip(*found):  # the first answer to each question, the second, ...
    metrics = {}
    for one in run:
      for metric, value in one.items():
        if 'submission' not in metric and 'pass_at' not in metric:
          metrics.setdefault(metric, []).append(value)
    out['totals'].append(
      {m: total(made, m, some) for m, some in metrics.items()}
    )
  return out


def main():
  loguru.logger.remove()
  datasets.disable_progress_bars()
  with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)  # some aggregations leave files where they run
    os.environ['HF_HOME'] = folder
    out = {}
    for name in TASKS:
      with contextlib.redirect_stdout(io.StringIO()):
        out[name] = judge(name, pathlib.Path(folder))
      count = sum(map(len, out[name]['scores']))
      right = sum(map(sum, out[name]['scores'])) / count
      print(f'{name}: {count} pairs, mean score {right:.3f}')
  text = json.dumps(
    out, ensure_ascii=True, sort_keys=True, separators=(',', ':')
  )
  (HERE / 'oracle.json.gz').write_bytes(
    gzip.compress(text.encode(), 9, mtime=0)
  )


if __name__ == '__main__':
  main()
