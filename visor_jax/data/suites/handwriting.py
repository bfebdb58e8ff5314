"""From digits to pixels: clips of real handwriting in flickering light.

The images are the 1,797 digits that scikit-learn ships.
"""

import functools

import numpy as np

CELL = 8  # height and width of a digit in pixels


@functools.cache
def pools() -> dict[bool, list[np.ndarray]]:
  """Images by split and digit: {test: [uint8 [n, CELL, CELL]] * 10}.

  Every fifth image is one of the test split, never seen in training.
  """
  from sklearn import datasets  # slow to import, needed here alone

  images, labels = datasets.load_digits(return_X_y=True)
  images = (images.reshape(-1, CELL, CELL) * (255 / 16)).astype(np.uint8)
  test = np.arange(len(labels)) % 5 == 0
  return {
    split: [images[(labels == c) & (test == split)] for c in range(10)]
    for split in (False, True)
  }


def write(
  rng: np.random.Generator, digits: np.ndarray, test: bool
) -> np.ndarray:
  """An image of each digit, 0 to 1, [cells, CELL, CELL].

  Args:
    rng: draws the images.
    digits: int, of any shape.
    test: the images are those of the test split.
  """
  images = [pools()[test][digit] for digit in digits.flat]
  return np.stack([pool[rng.integers(len(pool))] for pool in images]) / 255


def colour(
  cells: np.ndarray,
  paper: tuple[int, int, int],
  ink: tuple[int, int, int],
  dim: bool,
) -> np.ndarray:
  """Ink on paper, [cells, CELL, CELL, 3], each channel 0 to 255.

  Args:
    cells: 0 to 1, [cells, CELL, CELL].
    paper: its colour in RGB.
    ink: its colour in RGB.
    dim: the ink is half as bright.
  """
  cells = cells[..., None] * (0.5 if dim else 1.0) * np.array(ink)
  return np.maximum(cells, np.array(paper))


def mark(cell: np.ndarray) -> None:
  """Draws a white frame around a cell [CELL, CELL, 3], in place."""
  cell[:: CELL - 1] = 255
  cell[:, :: CELL - 1] = 255


def arrange(cells: np.ndarray, rows: int) -> np.ndarray:
  """Cells [cells, CELL, CELL, 3] in rows, to one image [height, width, 3]."""
  columns = len(cells) // rows
  grid = cells.reshape(rows, columns, CELL, CELL, 3).swapaxes(1, 2)
  return grid.reshape(rows * CELL, columns * CELL, 3)


def film(
  rng: np.random.Generator, image: np.ndarray, frames: int
) -> np.ndarray:
  """An image in the light of each frame, uint8 [frames, height, width, 3]."""
  light = rng.uniform(0.85, 1.0, (frames, 1, 1, 1))
  return (image * light).astype(np.uint8)
