"""docs/extending.md is true: its examples are added from outside, and work."""

import contextlib
import functools
import importlib
import json
import pathlib
import re
import sys

import jax
import numpy as np
import pytest

from tests import hub
from tests import llava
from tests import rows
from tests import runs
from tests import tiny
import visor_jax
from visor_jax import config as config_lib
from visor_jax.benchmarks import table as benchmarks
from visor_jax.checkpoint import resolve
from visor_jax.convert import folders
from visor_jax.data.suites import table as suites
from visor_jax.families import table as families
from visor_jax.flops import __main__ as flops
from visor_jax.flops import cost as costs
from visor_jax.jobs import table as jobs
from visor_jax.jobs import validate
from visor_jax.models import cross_attention
from visor_jax.models import visor
from visor_jax.reduction import table as reductions
from visor_jax.runtime import files
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import architecture
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs
from visor_jax.training import loop
from visor_jax.training import metrics
from visor_jax.training import stages

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / 'docs/extending.md').read_text()
# {'distil': its text} of every example, by the file that it is to be.
EXAMPLES = {
  re.match(r'# my_lab/(\w+)\.py\n', code)[1]: code
  for code in re.findall(r'```python\n(.*?)```', PAGE, re.S)
}
TABLES = (
  stages.STAGES,
  benchmarks.BENCHMARKS,
  metrics.WRITERS,
  reductions.METHODS,
  cross_attention.CROSS,
  families.FAMILIES,
  mesh_lib.AXES,
  mesh_lib.RULES,
)


@contextlib.contextmanager
def examples(folder, *names):
  """In here some examples are added, from files in a folder of their own."""
  before = [dict(table) for table in TABLES]
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(folder)
    (folder / 'my_lab').mkdir()
    for name in names:
      (folder / 'my_lab' / f'{name}.py').write_text(EXAMPLES[name])
      importlib.import_module(f'my_lab.{name}')
    try:
      yield
    finally:
      for table, entries in zip(TABLES, before):
        table.clear()
        table.update(entries)
      for name in [name for name in sys.modules if name.startswith('my_lab')]:
        del sys.modules[name]


@contextlib.contextmanager
def one_device():
  """In here a run takes one; programs for eight take minutes to compile."""
  make = functools.partial(mesh_lib.make, jax.devices()[:1])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mesh_lib, 'make', make)
    yield


def train(stage, config, folder):
  """The stage alone, on one device, from fresh parameters."""
  for name in stages.STAGES:
    config[name].steps = config[name].steps if name == stage else 0
  validate.validate(config)
  workdir = workdir_lib.Workdir(folder / 'run')
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  suite = suites.open_suite(config, (stage,), '')
  loop.train(stage, inputs.Inputs(config, workdir, mesh, suite))
  return workdir


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A stage on a backbone with a cross attention, to a writer."""
  folder = tmp_path_factory.mktemp('trained')
  with examples(folder, 'pixels', 'distil', 'gated', 'csv_writer'):
    config = tiny.get_config()
    config.distil.update(
      dict(steps=8, batch=8, plan='min', learning_rate=3e-3, warmup=0.0)
    )
    config.model.size, config.model.cross.module = 'pixels-tiny', 'gated'
    config.log.update(dict(every=1, writers='jsonl+csv'))
    return config, train('distil', config, folder)


def test_a_backbone_is_a_record(trained, tmp_path, capsys):
  """It trains, its checkpoints say what they are of, and its cost is told."""
  _, workdir = trained
  final = runs.final(workdir.path, 'distil', 8)
  (path,) = (path for path in final if "['params']['vision']" in path)
  assert path == "['params']['vision']['pixels']"
  moments = [final[path] for path in final if 'vision/pixels' in path]
  assert len(moments) == 2 and all(np.any(moment) for moment in moments)
  with examples(tmp_path, 'pixels'):
    config = tiny.get_config()
    config.model.size = 'pixels-tiny'
    resolve.keep(workdir, resolve.architecture(config))
    saved = json.loads(workdir.architecture.read_text())
    assert saved['family'] == 'pixels'
    model = architecture.from_json(saved)
    cost = costs.cost(model, None, 10, 4, tiles=2)
    assert cost.vision == 2 * 2 * 10 * 3 * 8**2 * 16
    assert flops.main(['--size=pixels-tiny', '--visual=10']) == 0
    assert 'pixels-tiny: 10 visual tokens' in capsys.readouterr().out
    with pytest.raises(ValueError, match='checkpoints of this family cannot'):
      families.named('pixels').tensors()
  with pytest.raises(ValueError, match='family "pixels" is not one of'):
    visor.Visor(model).init(jax.random.key(0), rows.batch(('tvp',)), None)


def test_a_stage_is_a_record(trained):
  """It has its keys, its loss falls, and it leaves a checkpoint."""
  config, workdir = trained
  assert config.distil.temperature == 2.0
  logged = files.read_jsonl(workdir.metrics('distil'))
  assert [row['step'] for row in logged] == list(range(1, 9))
  losses = [row['loss'] for row in logged]
  assert sum(losses[:3]) > 1.5 * sum(losses[-3:]) > 0
  moments = [
    path for path in runs.final(workdir.path, 'distil', 8) if "['opt']" in path
  ]
  assert moments and not any("['router']" in path for path in moments)


def test_a_cross_attention_is_a_module_of_two_methods(trained):
  _, workdir = trained
  final = runs.final(workdir.path, 'distil', 8)
  (gate,) = (
    final[path]
    for path in final
    if path.startswith("['params']") and "['cross']['gate']" in path
  )
  assert gate.shape == (1, 16) and np.any(gate)


def test_a_token_reduction_is_a_class(tmp_path):
  """It halves what the decoder gets, of each image alone, and what it costs."""
  with examples(tmp_path, 'stride'):
    config = tiny.get_config()
    config.eval.reduce = 'stride:2'
    validate.validate(config)
    model = rows.tiny(plans.visor(3), reduction='stride:2')
    shape = rows.Shape(12, 10, 2, 2)
    packed = rows.batch(('tvvvvtp', 'vvvvtpa'), shape=shape)
    alone = rows.batch(('tvvvvtp',), ('vvvvtpa',), shape=shape)
    logits = rows.logits(model, (True,))
    both, each = (logits(rows.params(model), b) for b in (packed, alone))
    everything = rows.logits(model.with_reduction(''), (True,))

    def of(model, visual):
      return costs.cost(model, None, visual, 60).layers

    assert of(model.architecture, 700) == of(model.architecture.base, 350)
  for number in (1, 2):
    want = each[rows.text(alone, number - 1, 1)]
    np.testing.assert_allclose(
      both[rows.text(packed, 0, number)], want, rtol=1e-4, atol=1e-4
    )
  assert not np.allclose(both, everything(rows.params(model), packed))


def test_a_writer_has_two_methods(trained, tmp_path):
  """It receives the numbers that jsonl has, and shows no step twice."""
  _, workdir = trained
  path = workdir.metrics('distil').with_suffix('.csv')
  lines = [line.split(',') for line in path.read_text().splitlines()]
  assert [
    {'step': step} | {n: float(v) for s, n, v in lines if int(s) == step}
    for step in range(1, 9)
  ] == files.read_jsonl(workdir.metrics('distil'))
  config = tiny.get_config()
  config.log.writers = 'csv'
  with examples(tmp_path, 'csv_writer'):
    with metrics.open_log(config, workdir, 'distil', step=1):
      pass
  assert {line.split(',')[0] for line in path.read_text().splitlines()} == {'1'}


@pytest.fixture(scope='module')
def evaluated(tmp_path_factory):
  """The eval job with a benchmark from outside, to a writer from outside."""
  folder = tmp_path_factory.mktemp('evaluated')
  llava.Oracle(folder / 'hf', text=dict(num_hidden_layers=3))
  folders.import_(folder / 'hf', folder / 'ckpt')
  for n in range(2):
    fields = dict(question='Which?', answer=f'AB {n}', image=hub.image(n))
    hub.table(folder / f'plates/data/test-0000{n}-of-00002.parquet', [fields])
  config = config_lib.default()
  config.jobs, config.data.suite, config.log.writers = 'eval', '', 'csv'
  config.data.prompt.update(dict(text=400, visual=110, tiles=37))
  config.eval.update(
    dict(
      checkpoint=str(folder / 'ckpt'),
      plans='base',
      benchmarks='plates',
      data=str(folder),
      batch=2,
      max_new_tokens=4,
      measure=False,
    )
  )
  with examples(folder, 'plates', 'csv_writer'), one_device():
    jobs.run_jobs(config, folder / 'run')
  return workdir_lib.Workdir(folder / 'run')


def test_a_benchmark_is_a_record(evaluated, tmp_path):
  """Its questions are asked, and graded by its rule."""
  (row,) = files.read_jsonl(evaluated.results)
  assert (row['family'], row['group'], row['n']) == ('plates', 'fine', 2)
  (path,) = evaluated.answers('eval').rglob('*-*.jsonl')
  answers = files.read_jsonl(path)
  assert [answer['gold'] for answer in answers] == [
    '{"answer": "AB 0"}',
    '{"answer": "AB 1"}',
  ]
  with examples(tmp_path, 'plates'):
    plates = benchmarks.BENCHMARKS['plates']
    assert plates in benchmarks.named('hard')
    for answer in answers:
      assert answer['score'] == plates.score(answer['answer'], answer['gold'])
    assert plates.score(' ab 7', '{"answer": "AB 0"}') == 0.75


def test_a_writer_receives_the_numbers_of_evaluation(evaluated):
  (row,) = files.read_jsonl(evaluated.results)
  lines = evaluated.metrics('eval').with_suffix('.csv').read_text().split()
  assert f'1,plates/base/accuracy,{row["accuracy"]}' in lines


def test_a_mesh_axis_is_a_name_in_two_tables(tmp_path):
  """A parameter and its moments lie on the eight devices by it."""
  with examples(tmp_path, 'vocabulary_axis'):
    config = tiny.get_config()
    config.mesh.vocabulary = 4
    program = visor_jax.train_program(config, 'base')
    state = program.init_state(program.init_params())
  assert program.mesh.shape == dict(mesh_lib.AXES, data=2, vocabulary=4)
  embedding = state.trained['llm/embedding']
  assert embedding.shape == (64, 16)
  assert embedding.sharding.shard_shape(embedding.shape) == (16, 16)
  (moment, _) = (
    leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt)
    if 'llm/embedding' in jax.tree_util.keystr(path)
  )
  assert moment.sharding == embedding.sharding


def test_files_that_the_page_names_exist():
  for name in set(re.findall(r'`((?:\w+/)+\w+\.\w+)`', PAGE)):
    assert (ROOT / name).exists() or (ROOT / 'visor_jax' / name).exists(), name


def test_every_section_has_an_example_and_a_line_of_the_table():
  sections = re.findall(r'^## A (.*)$', PAGE, re.M)
  assert sections == re.findall(r'^\| \[a (.*?)\]\(#', PAGE, re.M)
  assert len(EXAMPLES) == len(sections)
  for code in EXAMPLES.values():
    assert len(code.splitlines()) <= 40
