"""The paper's benchmarks: where they lie, how they ask, what is right.

Prompts, most new tokens and scores are those of `scores.RULES`, whose task is
named beside each. Columns are the hub's. Groups are the paper's split by how
data sets react to dropped layers: `fine` (its hard ones) ask to read what is
written in an image, `coarse` (its easy ones) what can be seen at a glance. The
paper names DocVQA, InfoVQA, ChartQA and OCRBench as hard, POPE, ScienceQA, GQA,
RealWorldQA and MME as easy; TextVQA, which reads as those do, and the rest,
which choose among given options, are put into a group here (`group_source`).
"""

from visor_jax.benchmarks import choices
from visor_jax.benchmarks import graders
from visor_jax.benchmarks import prompts
from visor_jax.benchmarks import record
from visor_jax.benchmarks import scores
from visor_jax.benchmarks import totals

# fmt: off
_FINE = (
  record.Benchmark(
    name='docvqa', group='fine', task='docvqa_val', size=5349,
    hub='lmms-lab/DocVQA', config='DocVQA', split='validation',
    columns=('question', 'answers'),
    ask=prompts.short_answer, max_new_tokens=32,
    gold=('answers',), grade=graders.anls,
  ),
  record.Benchmark(
    name='infovqa', group='fine', task='infovqa_val', size=2801,
    hub='lmms-lab/DocVQA', config='InfographicVQA', split='validation',
    columns=('question', 'answers'),
    ask=prompts.short_answer, max_new_tokens=32,
    gold=('answers',), grade=graders.anls,
  ),
  record.Benchmark(
    name='chartqa', group='fine', task='chartqa', size=2500,
    hub='lmms-lab/ChartQA', split='test',
    columns=('question', 'answer', 'type'),
    ask=prompts.single_word,
    gold=('answer', 'type'), grade=graders.by_text(scores.relaxed),
    total=totals.chartqa,
  ),
  record.Benchmark(
    name='textvqa', group='fine', group_source='here',
    task='textvqa_val', size=5000,
    hub='lmms-lab/textvqa', split='validation',
    columns=('question', 'answers'),
    ask=prompts.capitalized_short_answer, max_new_tokens=1024,
    gold=('answers',), grade=graders.vqa,
  ),
  record.Benchmark(
    name='ocrbench', group='fine', task='ocrbench', size=1000,
    hub='echo840/OCRBench', split='test',
    columns=('question', 'answer', 'dataset', 'question_type'),
    ask=prompts.question, max_new_tokens=128,
    gold=('answer', 'dataset', 'question_type'), grade=graders.ocrbench,
    total=totals.ocrbench,
  ),
)
_COARSE = (
  record.Benchmark(
    name='ai2d', group='coarse', group_source='here', task='ai2d', size=3088,
    hub='lmms-lab/ai2d', split='test',
    columns=('question', 'options', 'answer'),
    ask=prompts.ai2d,
    gold=('answer',),
    grade=graders.by_numbered_letter(choices.letter_before_stop),
  ),
  record.Benchmark(
    name='gqa', group='coarse', task='gqa', size=12578,
    hub='lmms-lab/GQA', config='testdev_balanced_instructions', split='testdev',
    columns=('question', 'answer', 'imageId'), image_columns=(),
    joined=('imageId', 'testdev_balanced_images'),
    ask=prompts.short_answer,
    gold=('answer',), grade=graders.by_text(scores.unpunctuated),
  ),
  record.Benchmark(
    name='pope', group='coarse', task='pope', size=9000,
    hub='lmms-lab/POPE', split='test',
    columns=('question', 'answer', 'category'),
    ask=prompts.stripped_short_answer, max_new_tokens=128,
    gold=('answer', 'category'), grade=graders.by_text(scores.caseless),
    total=totals.pope,
  ),
  record.Benchmark(
    name='scienceqa', group='coarse', task='scienceqa_img', size=2017,
    hub='lmms-lab/ScienceQA', config='ScienceQA-IMG', split='test',
    columns=('question', 'choices', 'hint', 'answer'),
    ask=prompts.scienceqa,
    gold=('answer',),
    grade=graders.by_numbered_letter(choices.leading_letter),
  ),
  record.Benchmark(
    name='mme', group='coarse', task='mme', size=2374,
    hub='lmms-lab/MME', split='test',
    columns=('question', 'answer', 'category', 'question_id'),
    ask=prompts.mme,
    gold=('answer', 'category', 'question_id'),
    grade=graders.by_text(scores.yes_no),
    total=totals.mme,
  ),
  record.Benchmark(
    name='mmbench', group='coarse', group_source='here',
    task='mmbench_en_dev_static', size=4329,
    hub='lmms-lab/MMBench', config='en', split='dev',
    columns=(
      'question', 'hint', 'answer', 'index', 'category', 'L2-category', *'ABCD',
    ),
    ask=prompts.mmbench, max_new_tokens=1024,
    gold=('answer', 'index', 'category', 'L2-category', *'ABCD'),
    grade=graders.mmbench, total=totals.mmbench, judged=True,
  ),
  record.Benchmark(
    name='mmstar', group='coarse', group_source='here',
    task='mmstar', size=1500,
    hub='Lin-Chen/MMStar', split='val',
    columns=('question', 'answer', 'category', 'l2_category'),
    ask=prompts.mmstar, max_new_tokens=1024,
    gold=('answer', 'category', 'l2_category'), grade=graders.mmstar,
    total=totals.mmstar,
  ),
  record.Benchmark(
    name='realworldqa', group='coarse', task='realworldqa', size=765,
    hub='lmms-lab/RealWorldQA', split='test',
    columns=('question', 'answer'),
    ask=prompts.question,
    gold=('answer',), grade=graders.by_text(choices.letter_or_words),
  ),
  record.Benchmark(
    name='seedbench', group='coarse', group_source='here',
    task='seedbench', size=17990,
    hub='lmms-lab/SEED-Bench', split='test',
    columns=(
      'question', 'answer', 'data_type',
      'choice_a', 'choice_b', 'choice_c', 'choice_d',
    ),
    ask=prompts.seedbench, images=prompts.image_list, max_new_tokens=1024,
    gold=('answer', 'data_type'),
    grade=graders.by_text(choices.first_character),
    total=totals.seedbench,
  ),
  record.Benchmark(
    name='mmmu', group='coarse', group_source='here',
    task='mmmu_val', size=900,
    hub='lmms-lab/MMMU', split='validation',
    columns=('id', 'question', 'options', 'answer', 'question_type'),
    image_columns=(
      'image_1', 'image_2', 'image_3', 'image_4', 'image_5', 'image_6',
      'image_7',
    ),
    ask=prompts.mmmu, images=prompts.mmmu_images, max_new_tokens=128,
    gold=('id', 'options', 'answer', 'question_type'), grade=graders.mmmu,
    total=totals.mmmu,
  ),
)
# fmt: on

BENCHMARKS = {benchmark.name: benchmark for benchmark in _FINE + _COARSE}
GROUPS = {'easy': 'coarse', 'hard': 'fine'}  # the paper's words


def named(names: str) -> tuple[record.Benchmark, ...]:
  """Reads 'hard', 'easy', 'all', or names joined by '+'.

  Raises:
    ValueError: a word that is none of these.
  """
  asked: dict[str, record.Benchmark] = {}
  for word in names.split('+'):
    matches = {
      name: benchmark
      for name, benchmark in BENCHMARKS.items()
      if word in ('all', name) or GROUPS.get(word) == benchmark.group
    }
    if not matches:
      raise ValueError(
        f'benchmark "{word}" is none of {", ".join(BENCHMARKS)}, nor easy, '
        'hard or all; set eval.benchmarks to names joined by +'
      )
    asked |= matches
  return tuple(asked.values())
