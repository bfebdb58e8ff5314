"""Drawn pages, charts and photos, and talk about them."""

import io
import json

import numpy as np
import PIL.Image
import PIL.ImageDraw

WORDS = 'total sum price paid house car sign red street north people'.split()
KINDS = ('page', 'chart', 'photo', 'pair', 'text')


def page(rng, height, width):
  """Lines of words; the second says a total."""
  image = PIL.Image.new('RGB', (width, height), 'white')
  draw = PIL.ImageDraw.Draw(image)
  total = int(rng.integers(10, 100))
  for i, top in enumerate(range(8, height - 12, 14)):
    line = (
      f'total {total}'
      if i == 1
      else ' '.join(rng.choice(WORDS, max(1, width // 48)))
    )
    draw.text((8, top), line, fill='black')
  return image, [('What is the total?', str(total))]


def chart(rng, height, width):
  """Bars."""
  image = PIL.Image.new('RGB', (width, height), 'white')
  draw = PIL.ImageDraw.Draw(image)
  bars = rng.permutation(np.linspace(0.1, 0.9, int(rng.integers(3, 7))))
  step = width / len(bars)
  for i, bar in enumerate(bars):
    draw.rectangle(
      ((i + 0.1) * step, height * (1 - bar), (i + 0.9) * step, height - 1),
      fill='navy',
    )
  return image, [
    ('How many bars are there?', str(len(bars))),
    ('Which one is the highest?', str(int(bars.argmax()) + 1)),
  ]


def photo(rng, height, width):
  """Smooth colours, a horizon and grain."""
  y, x = np.mgrid[:height, :width]
  a, b = rng.uniform(20, 60, 2)
  waves = np.stack([np.sin(x / a), np.cos(y / b), np.sin((x + y) / a)], -1)
  waves = np.where((y > height * 0.6)[..., None], -waves, waves)
  noise = rng.integers(0, 40, (height, width, 3))
  image = PIL.Image.fromarray((107 + 107 * waves + noise).astype(np.uint8))
  return image, [
    ('What is the colour of the street?', 'It is red.'),
    ('Are there people?', 'No.'),
    ('Is there a sign?', 'Yes.'),
  ]


def file(image, kind):
  """Encoded as such images mostly are."""
  out = io.BytesIO()
  image.save(out, 'JPEG' if kind == 'photo' else 'PNG')
  return out.getvalue()


def write(folder, count, seed=0, side=(30, 90)):
  """LLaVA's train.json and its images.

  Args:
    folder: made if it is not there.
    count: records, of all KINDS in turn.
    seed: of the draw.
    side: shortest and longest side of an image in pixels.

  Returns:
    The records.
  """
  (folder / 'images').mkdir(parents=True, exist_ok=True)
  rng, records = np.random.default_rng(seed), []
  for i in range(count):
    kind, images = KINDS[i % len(KINDS)], []
    draws = dict(
      page=[page], chart=[chart], photo=[photo], pair=[photo, chart], text=[]
    )[kind]
    turns = [('What is a sign?', 'A sign is red.')]
    for draw in draws:
      image, turns = draw(rng, *rng.integers(*side, 2).tolist())
      images.append(
        f'images/{i}-{len(images)}.' + ('jpg' if draw is photo else 'png')
      )
      (folder / images[-1]).write_bytes(
        file(image, 'photo' if draw is photo else kind)
      )
    messages = [
      dict(zip(('from', 'value'), part))
      for q, a in turns
      for part in (('human', q), ('gpt', a))
    ]
    messages[0]['value'] = '<image>\n' * len(images) + messages[0]['value']
    record = dict(id=f'{kind}-{i}', conversations=messages)
    if images:
      record['image'] = images if len(images) > 1 else images[0]
    records.append(record)
  (folder / 'train.json').write_text(json.dumps(records))
  return records
