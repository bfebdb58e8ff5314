"""The folder of a run: the name of every file in it, said once.

  config.json  architecture.json  data.json  lock  results.jsonl
  STAGE/checkpoints/STEP/  STAGE/metrics.jsonl  STAGE/nonfinite.jsonl
  STAGE/tensorboard/  STAGE/wandb/  STAGE/trace/
  search/plans.json  label/labels.jsonl  policy/calibration.json
  policy/features/HASH/
  search/metrics.jsonl  calibration/metrics.jsonl  eval/metrics.jsonl
  search/answers/  label/answers/  eval/TEST/METHOD/PLAN/  eval/examples.jsonl
  analysis/NAME.json  report/index.html  logs/  asked/test-INDEX.png

What jobs leave for others has its hash beside it, see runtime/checksums.py.

Plain Python: jobs, checkpoints, launchers and the report all find files by it.
"""

import dataclasses
import pathlib

CHECKPOINTS = 'checkpoints'  # of a stage, also in an imported checkpoint


@dataclasses.dataclass(frozen=True)
class Workdir:
  """Paths in the folder of a run; nothing is read or made.

  Attributes:
    path: of the folder.
  """

  path: pathlib.Path

  @property
  def config(self) -> pathlib.Path:
    """The keys that decide the results, see runtime/identity.py."""
    return self.path / 'config.json'

  @property
  def architecture(self) -> pathlib.Path:
    """What the model is, see spec/architecture.py."""
    return self.path / 'architecture.json'

  @property
  def data(self) -> pathlib.Path:
    """Fingerprints of the data that was used."""
    return self.path / 'data.json'

  @property
  def lock(self) -> pathlib.Path:
    """Held by the run that writes here."""
    return self.path / 'lock'

  @property
  def results(self) -> pathlib.Path:
    """A row for each plan and family of the eval job."""
    return self.path / 'results.jsonl'

  @property
  def examples(self) -> pathlib.Path:
    """Test questions to look at, with their pictures."""
    return self.path / 'eval' / 'examples.jsonl'

  @property
  def plans(self) -> pathlib.Path:
    """What the search job evaluated, and which plans are viable."""
    return self.path / 'search' / 'plans.json'

  @property
  def labels(self) -> pathlib.Path:
    """The cheapest plan that is right, question by question."""
    return self.path / 'label' / 'labels.jsonl'

  @property
  def calibration(self) -> pathlib.Path:
    """How sure the router must be, for what it may spend."""
    return self.path / 'policy' / 'calibration.json'

  def features(self, stage: str) -> pathlib.Path:
    """Folder with a folder of what a stage's router reads of questions."""
    return self.path / stage / 'features'

  def picture(self, index: int) -> pathlib.Path:
    """What a test question is about, once somebody asked."""
    return self.path / 'asked' / f'test-{index}.png'

  @property
  def report(self) -> pathlib.Path:
    """Folder of the page and what was drawn."""
    return self.path / 'report'

  @property
  def analysis(self) -> pathlib.Path:
    """Folder with a file for each analysis."""
    return self.path / 'analysis'

  @property
  def logs(self) -> pathlib.Path:
    """Folder of what processes printed that were not shown."""
    return self.path / 'logs'

  def checkpoints(self, stage: str) -> pathlib.Path:
    """Folder with a folder for each step of a stage that is saved."""
    return self.path / stage / CHECKPOINTS

  def metrics(self, stage: str) -> pathlib.Path:
    """A row for each logged step of a stage, or of another job."""
    return self.path / stage / 'metrics.jsonl'

  def nonfinite(self, stage: str) -> pathlib.Path:
    """The steps of a stage that were not applied."""
    return self.path / stage / 'nonfinite.jsonl'

  def tensorboard(self, stage: str) -> pathlib.Path:
    """Metrics of a stage, for TensorBoard."""
    return self.path / stage / 'tensorboard'

  def wandb(self, stage: str) -> pathlib.Path:
    """What Weights & Biases keeps here of a stage."""
    return self.path / stage / 'wandb'

  def trace(self, stage: str) -> pathlib.Path:
    """Profiler traces of a stage."""
    return self.path / stage / 'trace'

  def answers(self, job: str, test: str = '', method: str = '') -> pathlib.Path:
    """Folder with a folder of answers for each plan that was asked.

    Args:
      job: 'search', 'label' or 'eval'.
      test: name of the benchmark that eval asks, if it asks any.
      method: the token reduction that eval asks with, in its grammar.
    """
    if job != 'eval':
      return self.path / job / 'answers'
    # A share may be written with a slash, which no folder has in its name.
    return self.path / job / test / method.replace('/', '-of-')
