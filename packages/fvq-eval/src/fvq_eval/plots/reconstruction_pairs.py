"""Images of any size, each beside its reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fvq_core.images import to_uint8

from .figure import GREY, ORANGE

BETWEEN, GAP, BAR, LETTERS = 2, 12, 5, 22  # pixels: in a pair, between pairs, height of the bar, size of the caption


def fill_rows(widths: Sequence[int], row_width: int, gap: int) -> list[list[int]]:
    """Indices of items of these widths in rows of at most `row_width`, widest first; a wider item gets its own row."""
    rows: list[list[int]] = []
    left = 0
    for index in sorted(range(len(widths)), key=lambda index: -widths[index]):
        if not rows or widths[index] + gap > left:
            rows.append([])
            left = row_width + gap
        rows[-1].append(index)
        left -= widths[index] + gap
    return rows


def save_reconstruction_pairs(
    pairs: Sequence[tuple[Tensor, Tensor]],
    path: Path,
    unseen: Sequence[tuple[int, int] | None] = (),
    caption: str = '',
    row_width: int = 1760,
) -> None:
    """Write originals with their reconstructions to the right of them.

    Args:
        pairs: An image (3, H, W) in [-1, 1] and its reconstruction.
        unseen: The columns of each image that training did not see, as a range; a bar below marks them.
    """
    widths = [2 * image.shape[-1] + BETWEEN for image, _ in pairs]
    rows = fill_rows(widths, row_width, GAP)
    lengths = [sum(widths[index] + GAP for index in row) - GAP for row in rows]
    heights = [max(pairs[index][0].shape[-2] for index in row) + BAR + GAP for row in rows]
    canvas = Image.new('RGB', (max(lengths), sum(heights) + (2 * LETTERS if caption else 0)), 'white')
    draw = ImageDraw.Draw(canvas)
    top = 0
    for row, length, height in zip(rows, lengths, heights, strict=True):
        left = (canvas.width - length) // 2
        for index in row:
            for image in pairs[index]:
                pixels = to_uint8(image).permute(1, 2, 0).cpu().numpy()
                canvas.paste(Image.fromarray(pixels), (left, top))
                columns = unseen[index] if unseen else None
                if columns is not None:
                    bottom = top + pixels.shape[0]
                    draw.rectangle((left + columns[0], bottom, left + columns[1] - 1, bottom + BAR - 1), fill=ORANGE)
                left += pixels.shape[1] + BETWEEN
            left += GAP - BETWEEN
        top += height
    if caption:
        font = ImageFont.load_default(LETTERS)
        draw.text((canvas.width // 2, top + LETTERS // 2), caption, fill=GREY, font=font, anchor='ma')
    canvas.save(path)
