"""Which row the PSNR of a row is compared with, and whether the two may be compared at all."""

from __future__ import annotations

from collections.abc import Sequence

from .rows import Row

SAME_RATE = 0.02  # bits an image may differ by this share: FSQ's 1,000 codes stand beside 1,024
PREFERRED = 'fvq'


def same_rate(one: Row, other: Row) -> bool:
    """Whether two rows spend the same bits on an image; with more bits any method is better."""
    return abs(one.bits_per_image - other.bits_per_image) <= SAME_RATE * other.bits_per_image


def references(rows: Sequence[Row], name: str | None = None) -> dict[str, str]:
    """The name of the reference of each row that was not refused; its own name if there is nothing to compare it with.

    That is the row called `fvq` in the row's own folder, else an `fvq` of as many codes, else the first row of as many
    codes, else the folder's `fvq` for all that.

    Args:
        name: The reference of every row, instead of all this.
    """
    built = [row for row in rows if row.codebook_size and not row.refusal]
    return {row.name: name or find_reference(row, built).name for row in built}


def find_reference(row: Row, rows: Sequence[Row]) -> Row:
    """See `references`."""
    alike = [other for other in rows if other.codebook_size == row.codebook_size or same_rate(row, other)]
    of_folder = [other for other in rows if other.folder == row.folder]
    candidates = [
        *(other for other in alike if is_preferred(other) and other in of_folder),
        *(other for other in alike if is_preferred(other)),
        *(alike if len(alike) > 1 else ()),
        *(other for other in of_folder if is_preferred(other)),
    ]
    return candidates[0] if candidates else row


def is_preferred(row: Row) -> bool:
    """Whether a row is the plain VQBridge."""
    return row.key.rsplit('/', 1)[-1] == PREFERRED
