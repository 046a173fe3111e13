"""The codes of an image as maps of one code a cell, whatever their layout."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fvq_core.codes import CodeLayout
from fvq_core.positions import Grid, Pyramid


@dataclass(frozen=True)
class Plane:
    """Some codes of an image, arranged in rows and columns.

    Args:
        name: What a person calls it among the others, such as `code 2 of 3`; empty if there is only one.
        rows, columns: Its cells.
        places: Of each cell in reading order, the place of its code among the L codes: int64, up to (rows x columns,); the
            last row of a sequence may be shorter.
        vocabulary: Values of a code.
        on_image: Whether cells lie on the image; the tokens of a sequence have no place there.
    """

    name: str
    rows: int
    columns: int
    places: np.ndarray
    vocabulary: int
    on_image: bool = True

    def __len__(self) -> int:
        return len(self.places)

    def where(self, cell: int) -> str:
        """A cell in words, counted from 1."""
        row, column = divmod(cell, self.columns)
        return f'row {row + 1}, column {column + 1}' if self.on_image else f'token {cell + 1}'


def planes(layout: CodeLayout) -> list[Plane]:
    """The planes of a layout: one a slot, and of a pyramid one a scale and slot, coarse to fine."""
    positions, slots = layout.positions, layout.slots
    if isinstance(positions, Pyramid):
        scales = [(f'scale {height}x{width}', height, width) for height, width in positions.scales]
    elif isinstance(positions, Grid):
        scales = [('', positions.height, positions.width)]
    else:
        columns = widest_columns(positions.length)
        scales = [('', -(-positions.length // columns), columns)]
    found, start = [], 0
    for name, rows, columns in scales:
        count = min(rows * columns, positions.length - start)
        for slot, vocabulary in enumerate(layout.vocabularies):
            words = [name] if name else []
            words += [f'code {slot + 1} of {slots}'] if slots > 1 else []
            places = (start + np.arange(count)) * slots + slot
            on_image = isinstance(positions, Grid | Pyramid)
            found.append(Plane(', '.join(words), rows, columns, places, vocabulary, on_image))
        start += count
    return found


def widest_columns(length: int) -> int:
    """Columns that show a sequence about twice as wide as high, without a gap in the last row if there is such a number."""
    start = max(1, math.isqrt(2 * length - 1) + 1)
    return next((columns for columns in range(start, min(length, 2 * start) + 1) if length % columns == 0), start)
