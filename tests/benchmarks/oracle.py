"""What lmms-eval says of the pairs of pairs.py, frozen into oracle.json.gz.

  python -m venv ORACLE
  ORACLE/bin/pip install --no-deps lmms-eval==0.7.3
  ORACLE/bin/pip install <what its imports lack; a CPU build of torch is enough>
  ORACLE/bin/python -m tests.benchmarks.oracle

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
import tempfile
import types

import datasets
from lmms_eval import tasks as harness
from lmms_eval import utils
from lmms_eval.api import task as task_lib
from lmms_eval.tasks.mmbench import en_utils
import loguru
import pandas
import PIL.Image

from tests.benchmarks import pairs

HERE = pathlib.Path(__file__).parent
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


def process(harness_task, fields, answer):
  """What process_results gives for an answer, as the evaluator asks it."""
  instance = types.SimpleNamespace(resps=[answer], filtered_resps={})
  for answer_filter in harness_task._filters:
    answer_filter.apply([instance], [fields])
  (filtered,) = instance.filtered_resps.values()
  if fields.get('id'):
    random.seed(fields['id'])
  return harness_task.process_results(
    json.loads(json.dumps(fields)), [filtered]
  )


def score(name, harness_task, fields, values):
  """From the values of `process` to a score, 0 to 1."""
  if name == 'mmbench':
    (row,) = pandas.DataFrame([values['gpt_eval_score']]).to_dict('records')
    return en_utils.mmbench_evaluator.eval_sub_data(
      pandas.DataFrame([row]),
      {fields['index']: fields['answer']},
      static_only=True,
    )
  if name == 'mme':
    (value,) = values.values()
    return value['score']
  value = values[METRIC[name]]
  if isinstance(value, (int, float)):
    return value
  scale = 1000 if name == 'ocrbench' else 1
  return scale * total(harness_task, METRIC[name], [value])


def total(harness_task, metric, values):
  """A metric of all answers."""
  aggregate = harness_task.aggregation()[metric]
  sums = getattr(aggregate, '__globals__', {}).get('OCRBench_score', {})
  sums.update(dict.fromkeys(sums, 0))
  try:
    return float(aggregate(values))
  except TypeError:
    return float(aggregate(values, types.SimpleNamespace(output_path='.')))


def judge(name, folder):
  """All that the harness makes of the pairs of a benchmark."""
  asked = pairs.make(name)
  harness_task = task(name, asked[0][0], folder)
  values = [
    [process(harness_task, fields, answer) for answer in answers]
    for fields, answers in asked
  ]
  scores = [
    [
      round(float(score(name, harness_task, fields, value)), 12)
      for value in of_question
    ]
    for (fields, _), of_question in zip(asked, values)
  ]
  totals = []
  # The first answer to each question, then the second, ...
  for of_answers in zip(*values):
    metrics = {}
    for value_by_metric in of_answers:
      for metric, value in value_by_metric.items():
        if 'submission' not in metric and 'pass_at' not in metric:
          metrics.setdefault(metric, []).append(value)
    totals.append({m: total(harness_task, m, v) for m, v in metrics.items()})
  return dict(
    task=TASKS[name].split('/')[1],
    asked=asked,
    prompts=[harness_task.doc_to_text(fields) for fields, _ in asked],
    tokens=harness_task.config.generation_kwargs.get('max_new_tokens'),
    scores=scores,
    totals=totals,
  )


def main():
  loguru.logger.remove()
  datasets.disable_progress_bars()
  with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)  # some aggregations leave files where they run
    os.environ['HF_HOME'] = folder
    judged = {}
    for name in TASKS:
      with contextlib.redirect_stdout(io.StringIO()):
        judged[name] = judge(name, pathlib.Path(folder))
      count = sum(map(len, judged[name]['scores']))
      right = sum(map(sum, judged[name]['scores'])) / count
      print(f'{name}: {count} pairs, mean score {right:.3f}')
  text = json.dumps(
    judged, ensure_ascii=True, sort_keys=True, separators=(',', ':')
  )
  (HERE / 'oracle.json.gz').write_bytes(
    gzip.compress(text.encode(), 9, mtime=0)
  )


if __name__ == '__main__':
  main()
