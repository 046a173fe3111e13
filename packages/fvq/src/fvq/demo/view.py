"""A photo as one user sees it through one tokenizer: what its board shows, and what was changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Codes
from fvq_core.errors import UserError

from .board import board, map_panel, panel
from .code_vectors import codebook_of, vectors_of
from .colours import Axes, colours_of_numbers, colours_of_vectors, principal_axes
from .edits import blank_code, check_cell, edit, uses
from .examination import Examination, decode, difference, examine
from .fitting import fit
from .planes import Plane, planes

MOST_EDITS = 50  # that can be undone
GAIN = 4.0
AMPLIFIED = f'amplified {GAIN:g}x'
NO_CODES = (
    'This autoencoder is continuous: it has latents, not codes, so there is no map and nothing to point at or change.'
)


@dataclass(frozen=True, eq=False)
class View:
    """What one user has before them; never changed, so that nothing is shared by mistake.

    Args:
        tokenizer: Its name.
        examined: The photo through it.
        planes: Those of its codes; none of a continuous autoencoder.
        vectors_LD: The vector of each code; None if they have none.
        axes: Of the codebook, or of these vectors if it is too large.
        edits: The codes after each change, int64 (L,), the last one last.
    """

    tokenizer: str
    examined: Examination
    planes: list[Plane]
    vectors_LD: np.ndarray | None = None
    axes: Axes | None = None
    edits: tuple[np.ndarray, ...] = field(default=())

    @property
    def original(self) -> np.ndarray:
        """The photo's own codes."""
        assert self.examined.codes is not None
        return self.examined.codes.indices_BL[0].numpy()

    @property
    def current(self) -> np.ndarray:
        """The codes as they are now."""
        return self.edits[-1] if self.edits else self.original

    @property
    def layout(self) -> CodeLayout:
        """The layout of the codes."""
        assert self.examined.codes is not None
        return self.examined.codes.layout

    def plane(self, number: int) -> Plane:
        """A plane by its number; raises if there is none."""
        if not self.planes:
            raise UserError(NO_CODES)
        if not 0 <= number < len(self.planes):
            raise UserError(f'these codes have {len(self.planes)} maps, there is no number {number + 1}.')
        return self.planes[number]

    def board(self, number: int) -> dict[str, Any]:
        """Original, reconstruction, difference and the map of one plane."""
        examined = self.examined
        panels = [
            panel('Original', examined.pixels, f'{examined.pixels.shape[1]} x {examined.pixels.shape[0]}'),
            panel('Reconstruction', examined.reconstruction),
            panel('Difference', difference(examined.pixels, examined.reconstruction, GAIN), AMPLIFIED),
        ]
        if not self.planes:
            return board(panels)
        plane = self.plane(number)
        panels.append(map_panel(plane, self.colours(plane), examined.pixels.shape[:2]))
        return board(panels, plane, self.original[plane.places])

    def colours(self, plane: Plane) -> np.ndarray:
        """The colour of each cell of a plane, uint8 (N, 3)."""
        if self.vectors_LD is None or self.axes is None:
            return colours_of_numbers(self.original[plane.places])
        return colours_of_vectors(self.vectors_LD[plane.places], self.axes)

    def edited_board(self, autoencoder: Autoencoder, number: int) -> dict[str, Any]:
        """The image of the changed codes, and what they changed."""
        plane = self.plane(number)
        changed = int((self.current != self.original).sum())
        image = decode(autoencoder, self.current, self.layout)
        note = f'{changed:,} code{"s" * (changed != 1)} changed'
        panels = [
            panel('Decoded again', image, note),
            panel('What changed', difference(self.examined.reconstruction, image, GAIN), AMPLIFIED),
        ]
        return board(panels, plane, self.current[plane.places])

    def describe(self, number: int, cell: int) -> str:
        """A position and its code, in Markdown."""
        plane = self.plane(number)
        cells = uses(self.current, plane, cell)
        code, share = int(self.current[plane.places][cell]), 100 * len(cells) / len(plane)
        others = len(cells) - 1
        again = (
            'used nowhere else in this photo'
            if not others
            else f'used at {others:,} other position{"s" * (others > 1)}'
        )
        what = f' ({plane.name})' if len(self.planes) > 1 else ''
        text = f'**Code {code:,}**{what} at {plane.where(cell)}, {again} ({share:.1f} % of {len(plane):,}).'
        if not plane.on_image:
            text += ' Tokens of a sequence have no place on the image.'
        return text

    def edited(self, number: int, cell: int, action: str, where: str, code: float | None) -> View:
        """This view with one more change; see `edit`."""
        plane = self.plane(number)
        blank = blank_code(self.original, plane, self.vectors_LD)
        changed = edit(self.current, plane, check_cell(plane, cell), action, where, code, blank)
        if np.array_equal(changed, self.current):
            raise UserError('this would change nothing: the position has that code already.')
        return replace(self, edits=(*self.edits, changed)[-MOST_EDITS:])

    def undone(self) -> View:
        """This view without its last change."""
        return replace(self, edits=self.edits[:-1])


def open_view(name: str, autoencoder: Autoencoder, photo: np.ndarray, longest: int) -> View:
    """A photo, uint8 (H, W, 3), through an autoencoder; see `fit`."""
    examined = examine(autoencoder, fit(photo, [autoencoder], longest))
    codes: Codes | None = examined.codes
    if codes is None:
        return View(name, examined, [])
    try:
        codebook_KD = codebook_of(autoencoder.quantizer)
    except UserError:  # too large to look through; the codes of the photo may still have vectors
        codebook_KD = None
    vectors_LD = vectors_of(autoencoder.quantizer, codes, codebook_KD)
    axes = None
    if vectors_LD is not None:
        own = codebook_KD is not None and codebook_KD.shape[1] == vectors_LD.shape[1]
        axes = principal_axes(codebook_KD if own and codebook_KD is not None else vectors_LD)
    return View(name, examined, planes(codes.layout), vectors_LD, axes)
