"""The suites that a config can name in data.suite, and how each is opened."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools

import ml_collections

from visor_jax.data import protocols
from visor_jax.data.sources import readers
from visor_jax.data.suites import corpus
from visor_jax.data.suites import digits
from visor_jax.data.suites import drawn
from visor_jax.data.suites.pages import page as pages
from visor_jax.data.suites.pages import questions as page_questions
from visor_jax.data.suites.pages import source as page_source
from visor_jax.data.suites.pages import suite as page_suite
from visor_jax.families import table as families
from visor_jax.runtime import paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import batch as batch_lib

ShapeOf = Callable[
  [ml_collections.ConfigDict, architecture_lib.Architecture],
  batch_lib.RowShape,
]


@dataclasses.dataclass(frozen=True)
class Entry:
  """A suite before it is opened.

  Attributes:
    packed: training rows have the slots of data.packed.
    open: (whole config, names of jobs, checkpoint folder with the tokenizer,
      rows of its embedding) -> the suite with what they need.
    training_shape: (whole config, model) -> slots of a training row.
    prompt_shape: (whole config, model) -> slots of a question's row.
    families: whole config -> the families of the questions that get labels.
    reads: keys, and groups of them, that no other suite reads.
  """

  packed: bool
  open: Callable[
    [ml_collections.ConfigDict, Sequence[str], str, int | None], protocols.Suite
  ]
  training_shape: ShapeOf
  prompt_shape: ShapeOf
  families: Callable[[ml_collections.ConfigDict], tuple[str, ...]]
  reads: tuple[str, ...] = ()


def entry(config: ml_collections.ConfigDict) -> Entry:
  """The suite that a config names.

  Raises:
    ValueError: there is none of that name.
  """
  name = config.data.suite
  if name not in SUITES:
    names = ', '.join(f'"{name}"' for name in SUITES)
    raise ValueError(f'data.suite is "{name}"; expected one of {names}')
  return SUITES[name]


def packed_slots(config: ml_collections.ConfigDict) -> dict[str, int]:
  """{key: slots} of a training row; none where the suite has its own."""
  if not entry(config).packed:
    return {}
  slots = 'text', 'visual', 'tiles'
  return {f'data.packed.{slot}': config.data.packed[slot] for slot in slots}


def unread(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  """Keys, and groups of them, that only other suites than a config's read."""
  others = {key for each in SUITES.values() for key in each.reads}
  read = {*entry(config).reads, *(WORDS if config.eval.benchmarks else ())}
  return tuple(sorted(others - read))


def open_suite(
  config: ml_collections.ConfigDict,
  jobs: Sequence[str],
  origin: str,
  rows: int | None = None,
) -> protocols.Suite:
  """Where the records of some jobs come from.

  Args:
    config: the whole config.
    jobs: names of the jobs that ask for records.
    origin: checkpoint folder with the tokenizer (hf/); '' for none.
    rows: of its embedding; None where nobody knows.

  Raises:
    ValueError: naming the key that is missing or the source that is wrong.
  """
  return entry(config).open(config, jobs, origin, rows)


# The built-in suites ---------------------------------------------------------


def _open_digits(
  config: ml_collections.ConfigDict,
  jobs: Sequence[str],
  origin: str,
  rows: int | None,
) -> digits.Suite:
  return digits.Suite(config.seed, **config.data.digits)


def built_in(config: ml_collections.ConfigDict) -> drawn.Suite:
  """The suite of a config, which needs no checkpoint to be opened.

  Raises:
    ValueError: it is made of sources.
  """
  if config.data.suite:
    suite = open_suite(config, (), '')
    if isinstance(suite, drawn.Suite):
      return suite
  raise ValueError(
    f'data.suite is "{config.data.suite}", which is not built in: its '
    'questions are those of sources'
  )


def _digits_training(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> batch_lib.RowShape:
  return digits.row_shape(config.data.digits.frames, digits.TURNS)


def _digits_prompt(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> batch_lib.RowShape:
  return digits.row_shape(config.data.digits.frames, 1)


def _digits_families(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  return digits.COARSE + digits.FINE


def _open_pages(
  config: ml_collections.ConfigDict,
  jobs: Sequence[str],
  origin: str,
  rows: int | None,
) -> page_suite.Suite:
  return page_suite.Suite(config.seed, **config.data.pages)


def _pages_training(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> batch_lib.RowShape:
  scale = pages.scale(config.data.pages.scale)
  return page_suite.row_shape(scale, page_suite.TURNS)


def _pages_prompt(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> batch_lib.RowShape:
  return page_suite.row_shape(pages.scale(config.data.pages.scale), 1)


def _pages_families(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  return page_questions.FAMILIES


# Sources of conversations ----------------------------------------------------


def open_corpus(
  config: ml_collections.ConfigDict,
  jobs: Sequence[str],
  origin: str,
  rows: int | None = None,
) -> corpus.Corpus:
  """The corpus of a config, with the sources that some jobs need.

  Args:
    config: the whole config.
    jobs: names of them.
    origin: checkpoint folder with the tokenizer (hf/); '' for none.
    rows: of its embedding; None where nobody knows.

  Raises:
    ValueError: naming the key that is missing or the source that is wrong.
  """
  data, folder = config.data, paths.parse(origin) / 'hf'
  if not origin or not folder.exists():
    raise ValueError(
      'data.sources need the tokenizer of a checkpoint, but model.init_from is '
      f'"{config.model.init_from}"; set it to what python -m visor_jax.convert '
      'import has written'
    )
  folder = paths.local_copy(folder)
  opened = functools.cache(_open_source)
  mixtures = {}
  for stream, parts in _streams(config, jobs).items():
    if not parts:
      raise ValueError(
        f'{stream} has no data: set data.sources to ((name, path, weight), ...)'
      )
    mixtures[stream] = corpus.Mixture(
      tuple(opened(name, path) for name, path, _ in parts),
      tuple(weight for _, _, weight in parts),
    )
  settings = corpus.Settings(
    packed=data.packed,
    prompt=data.prompt,
    window=data.window,
    max_bad_fraction=data.max_bad_fraction,
    answer_tokens=config.eval.max_new_tokens,
    coarse=tuple(config.eval.coarse),
    planners=data.planners,
  )
  return corpus.Corpus(
    config.seed,
    mixtures,
    families.of_folder(folder).read_processor(folder, data.transparency, rows),
    settings,
  )


def _streams(
  config: ml_collections.ConfigDict, jobs: Sequence[str]
) -> dict[str, Sequence[tuple[str, str, float]]]:
  """{stream: ((name, path, weight), ...)} of the jobs that ask for records."""
  streams = {}
  for job in jobs:
    if job in _QUESTIONS:
      stream = _QUESTIONS[job]
      streams[stream] = config[stream].sources or config.data.sources
    elif job == 'eval':
      if config.eval.benchmarks:
        continue
      if not config.eval.sources:
        raise ValueError(
          'eval.sources is empty: which questions are the test? '
          'Name sources or eval.benchmarks, or leave out the '
          'eval stage'
        )
      streams['test'] = config.eval.sources
    elif job != 'report':
      streams[job] = config[job].sources or config.data.sources
  return streams


# Jobs that ask questions of the training data, and the stream they ask. It has
# the name of the group of the config with its sources.
_QUESTIONS = {'search': 'search', 'label': 'label', 'policy': 'label'}


def _open_source(name: str, path: str) -> corpus.NamedSource:
  try:
    source: protocols.Source
    if str(path).startswith(page_source.NAME):
      source = page_source.Source(path, page_suite.Suite)
    else:
      source = readers.open_source(path)
    return corpus.NamedSource(source, name)
  except (OSError, ValueError) as e:
    raise ValueError(f'source "{name}": {e}') from e


def _corpus_training(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> batch_lib.RowShape:
  return _corpus_shape(model, **config.data.packed)


def _corpus_prompt(
  config: ml_collections.ConfigDict, model: architecture_lib.Architecture
) -> batch_lib.RowShape:
  return _corpus_shape(model, **config.data.prompt, prompts=1)


def _corpus_families(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  sources = config.label.sources or config.data.sources
  return tuple(name for name, _, _ in sources)


def _corpus_shape(
  model: architecture_lib.Architecture, **slots: int
) -> batch_lib.RowShape:
  return batch_lib.RowShape(
    **slots,
    tile=model.size.vision.tile,
    patches=model.size.vision.patches,
    taps=families.named(model.family).taps,
  )


# Of questions in words, which benchmarks ask whatever the suite.
WORDS = 'data.prompt', 'data.transparency', 'eval.max_new_tokens'
SUITES = {
  'digits': Entry(
    False,
    _open_digits,
    _digits_training,
    _digits_prompt,
    _digits_families,
    ('data.digits',),
  ),
  'pages': Entry(
    False,
    _open_pages,
    _pages_training,
    _pages_prompt,
    _pages_families,
    ('data.pages',),
  ),
  '': Entry(
    True,
    open_corpus,
    _corpus_training,
    _corpus_prompt,
    _corpus_families,
    (
      *WORDS,
      'data.packed',
      'data.window',
      'data.max_bad_fraction',
      'data.planners',
    ),
  ),
}
