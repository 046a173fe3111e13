"""Samples as one picture, a row for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

GAP = 4
SMALLEST_SIDE = 128  # smaller images are enlarged by whole pixels, so that people can see them
COLUMNS, ROWS = 8, 10


def choose_samples(labels_N: np.ndarray, columns: int = COLUMNS, rows: int = ROWS) -> tuple[list[list[int]], bool]:
    """Which of all samples to show.

    Where the classes have two samples or more on average, a row is a class and has its first samples: of many classes some
    that are spread evenly over them, those left out that have fewer samples than the average (or than there are columns).
    Else, as with one sample of each of many classes, samples spread evenly over all of them fill the rows, ordered by class.

    Args:
        labels_N: The class of each sample.
        columns: Samples of a row at most.
        rows: Rows at most.

    Returns:
        The numbers of the samples of each row, and whether a row is a class.
    """
    classes, counts = np.unique(labels_N, return_counts=True)
    samples = len(labels_N)
    if samples >= 2 * len(classes):
        enough = classes[counts >= min(columns, samples // len(classes))]
        shown = enough[spread(len(enough), rows)]
        return [np.flatnonzero(labels_N == label)[:columns].tolist() for label in shown], True
    chosen = spread(samples, columns * rows)
    ordered = chosen[np.argsort(labels_N[chosen], kind='stable')].tolist()
    return [ordered[start : start + columns] for start in range(0, len(ordered), columns)], False


def spread(count: int, most: int) -> np.ndarray:
    """Numbers below `count`, evenly spaced from 0: all of them, or `most`."""
    shown = min(count, most)
    return np.arange(shown) * count // shown


def sample_grid(rows_HWC: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """The picture of rows of samples, uint8 (H, W, 3) each."""
    height, width = rows_HWC[0][0].shape[:2]
    scale = max(1, SMALLEST_SIDE // width)
    cell_height, cell_width = height * scale + GAP, width * scale + GAP
    widest = max(len(row) for row in rows_HWC)
    canvas = Image.new('RGB', (widest * cell_width - GAP, len(rows_HWC) * cell_height - GAP), 'white')
    for row, samples in enumerate(rows_HWC):
        for column, pixels in enumerate(samples):
            tile = Image.fromarray(pixels).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            canvas.paste(tile, (column * cell_width, row * cell_height))
    return canvas
