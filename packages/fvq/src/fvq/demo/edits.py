"""Codes of an image, changed by hand."""

from __future__ import annotations

import numpy as np

from fvq_core.errors import UserError

from .planes import Plane

REPLACE, ERASE, SWAP = 'Replace it', 'Erase it', 'Swap it with'
HERE, EVERYWHERE = 'here', 'everywhere it is used'


def uses(indices_L: np.ndarray, plane: Plane, cell: int) -> np.ndarray:
    """The cells of a plane whose code is that of a cell, which is one of them: int64."""
    codes = indices_L[plane.places]
    return np.flatnonzero(codes == codes[check_cell(plane, cell)])


def check_cell(plane: Plane, cell: int) -> int:
    """The cell itself; raises if the plane has no such cell."""
    if isinstance(cell, bool) or not isinstance(cell, int) or not 0 <= cell < len(plane):
        raise UserError(f'there are {len(plane):,} positions, numbered from 0; got {cell!r}.')
    return cell


def check_code(plane: Plane, code: int | float | None) -> int:
    """A code as a whole number; raises if it is none of the plane's."""
    if code is None or code != int(code) or not 0 <= code < plane.vocabulary:
        raise UserError(f'codes are whole numbers from 0 to {plane.vocabulary - 1:,}, got {code}.')
    return int(code)


def blank_code(indices_L: np.ndarray, plane: Plane, vectors_LD: np.ndarray | None) -> int:
    """The code that stands for nothing in particular: of those in a plane the nearest to their mean, or the most frequent."""
    codes = indices_L[plane.places]
    if vectors_LD is None:
        values, counts = np.unique(codes, return_counts=True)
        return int(values[counts.argmax()])
    vectors = vectors_LD[plane.places]
    return int(codes[((vectors - vectors.mean(0)) ** 2).sum(1).argmin()])


def edit(
    indices_L: np.ndarray,
    plane: Plane,
    cell: int,
    action: str,
    where: str,
    code: int | float | None = None,
    blank: int = 0,
) -> np.ndarray:
    """The codes of an image after one change; the given ones stay as they are.

    Args:
        indices_L: int64 (L,).
        plane: The plane that is changed.
        cell: A cell of it.
        action: `REPLACE` puts `code` there, `ERASE` puts `blank`, `SWAP` gives all uses of either code the other.
        where: `HERE` or `EVERYWHERE`; a swap is everywhere.
        code: The other code.
        blank: What erased codes become; see `blank_code`.

    Raises:
        UserError: No such cell, or no such code.
    """
    cells = uses(indices_L, plane, cell)
    changed = indices_L.copy()
    codes = changed[plane.places]
    if action == SWAP:
        other, own = check_code(plane, code), codes[cell]
        others = codes == other
        codes[cells], codes[others] = other, own
    else:
        new = check_code(plane, code) if action == REPLACE else blank
        codes[cells if where == EVERYWHERE else [cell]] = new
    changed[plane.places] = codes
    return changed
