"""Questions with images, one or several or none."""

from tests import llava

PROMPTS = (
  'What is the colour of the car?',
  'Hm?',
  'How many people are there? Say it in one word, please. ' * 4,
)

PICTURES = (
  [llava.picture(45, 62)],
  [],
  [llava.picture(9, 130, 1)] * 2,
  [llava.picture(300, 20)],
)
ASKED = list(zip(PICTURES, (PROMPTS[0], PROMPTS[1], PROMPTS[2], 'No.')))
