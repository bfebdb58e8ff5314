"""An import refuses at the door what could not be asked."""

import json

import pytest

from tests import llava
from tests import llava_weights
from tests.convert import checkpoints
import visor_jax
from visor_jax.convert import folders
from visor_jax.convert import hf
from visor_jax.convert import visor_tensors
from visor_jax.data.sources import records


def edit(folder, name, **fields):
  path = folder / name
  values = json.loads(path.read_text()) if path.exists() else {}
  path.write_text(json.dumps(values | fields))


def lose(name):
  return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
  'change, message',
  [
    (lose('tokenizer.json'), 'nor vocab.json and merges.txt'),
    (lose('chat_template.jinja'), 'no chat template'),
    (lose('preprocessor_config.json'), 'which says how images are cut'),
    (
      lambda folder: (folder / 'chat_template.jinja').write_text(
        '{{ raise_exception("no!") }}'
      ),
      'says: no!',
    ),
    (
      lambda folder: (folder / 'generation_config.json').write_text('{'),
      'generation_config.json is broken',
    ),
    (
      lambda folder: edit(folder, 'generation_config.json', stop_strings=['.']),
      'stop_strings',
    ),
    (
      lambda folder: edit(folder, 'preprocessor_config.json', do_resize=False),
      'do_resize is False; expected True',
    ),
    (
      lambda folder: edit(folder, 'tokenizer_config.json', eos_token='no'),
      'none of the eos tokens',
    ),
  ],
)
def test_what_cannot_be_asked_is_not_imported(
  change, message, tmp_path, checkpoint
):
  src = checkpoints.copy(checkpoint, tmp_path / 'src')
  change(src)
  with pytest.raises((ValueError, OSError), match=message):
    folders.import_(src, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_weights_of_visor_are_those_of_its_model(tmp_path, checkpoint):
  imported = checkpoints.with_visor(hf.read(checkpoint[0]))
  hf.write(tmp_path / 'src', imported)
  folders.import_(tmp_path / 'src', tmp_path / 'whole')
  path = tmp_path / 'src' / visor_tensors.FILE
  tensors = llava_weights.safetensors.load_file(path)
  tensors['visor.router.bias'] = tensors['visor.router.bias'][:1].clone()
  del tensors['visor.cross.0.out'], tensors['visor.cross.1.out']
  llava_weights.safetensors.save_file(tensors, path)
  with pytest.raises(
    ValueError, match='parameters of its model: llm/cross/out'
  ) as e:
    folders.import_(tmp_path / 'src', tmp_path / 'out')
  assert 'router/bias (1,), not (2,)' in str(e.value)


def test_a_question_must_fit_the_context(tmp_path):
  llava.write(tmp_path / 'src', text=dict(max_position_embeddings=99))
  with pytest.raises(ValueError, match='embeddings is 99; a question about'):
    folders.import_(tmp_path / 'src', tmp_path / 'out')


def test_what_answers_are_is_said(tmp_path, checkpoint, capsys):
  """Words without a row, and decoding that is asked for and not done."""
  src = checkpoints.copy(checkpoint, tmp_path / 'src')
  edit(src, 'generation_config.json', do_sample=True, temperature=0.7)
  words = json.loads((src / 'tokenizer.json').read_text())
  last = words['added_tokens'][-1]
  words['added_tokens'] += [
    dict(last, id=last['id'] + 1 + n, content=f'<point{n}>') for n in range(20)
  ]
  (src / 'tokenizer.json').write_text(json.dumps(words))
  folders.import_(src, tmp_path / 'out')
  said = capsys.readouterr().out
  assert 'would do_sample True, temperature 0.7' in said
  assert 'texts with "<point3>" and those behind it will be refused' in said
  model = visor_jax.load(tmp_path / 'out')
  assert model.generate([], 'say <point2> now', max_new_tokens=1)
  with pytest.raises(ValueError, match='"<point9>" is token .* 368 rows'):
    model.generate([], 'say <point9> now', max_new_tokens=1)
  with pytest.raises(ValueError, match='this model does not know it'):
    model.processor.tokenizer.conversation(
      [records.Turn('where', '<point19>', '')], 0
    )
