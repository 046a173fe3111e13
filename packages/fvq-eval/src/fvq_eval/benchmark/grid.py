"""The same images through every method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fvq_core.files.arrays import read_npz

from .summary import RowSummary
from .worker import SAMPLES_NAME

GAP, LABEL_WIDTH, FONT_SIZE = 4, 230, 15
SMALLEST_SIDE = 128  # smaller images are enlarged by whole pixels


def draw_grid(summaries: Sequence[RowSummary], path: Path) -> bool:
    """Write originals and, below them, each method's reconstructions; False if there is nothing to draw.

    The first seed of each row is shown, in the order of the table.
    """
    shown = [(row, read_npz(row.runs[0].folder / SAMPLES_NAME)) for row in summaries if row.runs]
    if not shown:
        return False
    lines = [('original', shown[0][1]['images'])]
    lines += [(f'{row.row.name}\n{row.cells["psnr"].mean:.2f} dB', made['reconstructions']) for row, made in shown]
    count, _, height, width = lines[0][1].shape
    scale = max(1, SMALLEST_SIDE // width)
    cell_width, cell_height = width * scale + GAP, height * scale + GAP
    canvas = Image.new('RGB', (LABEL_WIDTH + count * cell_width, len(lines) * cell_height), 'white')
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_SIZE)
    for number, (label, images) in enumerate(lines):
        draw.text((8, number * cell_height + cell_height // 2 - FONT_SIZE), label, fill='black', font=font)
        for column, image in enumerate(images):
            tile = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            tile = tile.resize((width * scale, height * scale), Image.Resampling.NEAREST)
            canvas.paste(tile, (LABEL_WIDTH + column * cell_width, number * cell_height))
    canvas.save(path)
    return True
