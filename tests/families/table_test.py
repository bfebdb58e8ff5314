"""Families are asked by their records, from everywhere else by name."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from visor_jax.data.suites import sizes as suite_sizes
from visor_jax.families import table

PACKAGE = pathlib.Path(table.__file__).parents[1]


def test_no_module_outside_names_a_family():
  """A family needs its folder and its line alone: no code, key or word."""

  def letters(text):
    return re.sub('[^a-z0-9]', '', text.lower())

  names = {letters(name) for name in table.FAMILIES}
  names |= {
    letters(kind) for f in table.FAMILIES.values() for kind in f.model_types
  }
  for path in PACKAGE.rglob('*.py'):
    family = path.relative_to(PACKAGE).parts[:2]
    if family[0] != 'families' or family[1] in ('family.py', 'text_config.py'):
      text = letters(path.read_text())
      assert not [name for name in names if name in text], path
  for name in table.FAMILIES:
    own = PACKAGE / 'families' / name
    for path in (PACKAGE / 'families').rglob('*.py'):
      if own not in path.parents and path.name != 'table.py':
        assert name not in path.read_text(), f'{path} knows {name}'


def test_the_table_has_a_line_for_each_family():
  text = pathlib.Path(table.__file__).read_text()
  for name in table.FAMILIES:
    lines = [line for line in text.splitlines() if name in line]
    assert len(lines) == 2 + (name == table.DEFAULT), lines  # import and line


def test_the_key_of_a_family_is_its_name():
  for name, family in table.FAMILIES.items():
    assert table.named(name) is family and family.name == name


def test_an_unknown_family_is_named_with_those_that_there_are():
  with pytest.raises(ValueError, match='"qwen" is not one of llava_onevision'):
    table.named('qwen')


def test_a_size_is_of_a_family_or_of_the_built_in_suite():
  names = table.size_names(suite_sizes.SIZES)
  assert len(set(names)) == len(names)  # a name is of one family
  family, size = table.named_size('7b', suite_sizes.SIZES)
  assert table.named(family).sizes['7b'] == size
  assert table.named_size('digits', suite_sizes.SIZES) == (
    table.DEFAULT,
    suite_sizes.SIZES['digits'],
  )
  with pytest.raises(ValueError, match='model.size is "9b"; .*0.5b.*digits'):
    table.named_size('9b', suite_sizes.SIZES)


@pytest.mark.parametrize(
  'config,name',
  [
    (dict(model_type='llava_onevision'), 'llava_onevision'),
    (dict(model_type='fast_vlm'), 'fastvlm'),
    (dict(model_type='qwen2_vl'), 'qwen2_vl'),
    (dict(model_type='llava_qwen2', architectures=['Llava']), 'fastvlm'),
    (
      dict(model_type='llava', architectures=['LlavaQwenForCausalLM']),
      'llava_onevision',
    ),
  ],
)
def test_a_folder_is_of_the_family_that_its_config_says(config, name, tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps(config))
  assert table.of_folder(tmp_path).name == name


def test_a_folder_of_no_family_says_what_can_be_imported(tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='blip')))
  with pytest.raises(ValueError, match="'blip'.*; what can be imported is"):
    table.of_folder(tmp_path)


def test_the_table_needs_no_library():
  """A report and the cost of a plan are read where there is no jax."""
  code = (
    'import sys; before = set(sys.modules)\n'
    'from visor_jax.families import table\n'
    'from visor_jax.flops import cost\n'
    'names = {m.split(".")[0] for m in set(sys.modules) - before}\n'
    'print(names - sys.stdlib_module_names - {"visor_jax"})'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert done.stdout == 'set()\n'
