"""Samples as one picture, a row for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

GAP = 4
SMALLEST_SIDE = 128  # smaller images are enlarged by whole pixels, so that people can see them


def save_sample_grid(
    pixels_NHWC: np.ndarray, labels: Sequence[int], path: Path, columns: int = 8, rows: int = 10
) -> list[int]:
    """Write a PNG: each row has the first samples of one class, classes ascending.

    Args:
        pixels_NHWC: uint8 (N, H, W, 3).
        labels: The class of each.
        path: Of the picture.
        columns: Samples of a class at most.
        rows: Classes at most.

    Returns:
        The classes shown, from the top.
    """
    classes = sorted(set(labels))[:rows]
    height, width = pixels_NHWC.shape[1:3]
    scale = max(1, SMALLEST_SIDE // width)
    cell_height, cell_width = height * scale + GAP, width * scale + GAP
    members = {label: [i for i, own in enumerate(labels) if own == label][:columns] for label in classes}
    widest = max(len(numbers) for numbers in members.values())
    canvas = Image.new('RGB', (widest * cell_width - GAP, len(classes) * cell_height - GAP), 'white')
    for row, label in enumerate(classes):
        for column, number in enumerate(members[label]):
            tile = Image.fromarray(pixels_NHWC[number]).resize(
                (width * scale, height * scale), Image.Resampling.NEAREST
            )
            canvas.paste(tile, (column * cell_width, row * cell_height))
    canvas.save(path)
    return classes
