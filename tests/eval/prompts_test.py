"""Prompts of any length share few shapes, which are few programs."""

import json

from tests import llava_files
from visor_jax.data.pipeline import questions
from visor_jax.eval import prompts
from visor_jax.families import table as families


def test_questions_of_any_length_share_few_shapes(tmp_path):
  llava_files.write_processor(tmp_path)
  config = json.dumps(llava_files.config())
  (tmp_path / 'config.json').write_text(config)
  family = families.of_folder(tmp_path)
  processor = family.read_processor(tmp_path, 'white', 512)
  shapes = set()
  for words in range(1, 300, 7):
    question = questions.segment('why ' * words, [], processor)
    packed = prompts.pack([question], processor)
    ((_, text),) = packed.lengths
    shape = packed.batch.tokens.shape
    assert text <= shape[1] < max(65, 2 * text)
    shapes.add(shape)
  assert shapes == {(1, 64 << i) for i in range(6)}  # up to 2,048 tokens
