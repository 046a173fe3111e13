"""A codebook as a whole: how some photos use it, where its codes lie, and which are near one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Codes
from fvq_core.errors import UserError
from fvq_core.ops.codebook_statistics import perplexity
from fvq_core.positions import Grid

from .code_vectors import codebook_of, codebook_rows
from .colours import colours_of_vectors, principal_axes
from .examination import array, examine
from .fitting import fit

MOST_POINTS = 20_000  # of the picture of a codebook
LOOK_CELLS = 5  # positions a side of the image that shows what one code looks like
SOURCE = 'fvq demo'


@dataclass(frozen=True, eq=False)
class Survey:
    """A codebook and its use.

    Args:
        codebook_KD: float32 (K, D).
        counts_K: How often some photos use each row, int64; None if rows are made of several codes.
        photos: How many photos.
    """

    codebook_KD: np.ndarray
    counts_K: np.ndarray | None
    photos: int

    @property
    def sentence(self) -> str:
        """Usage in words."""
        K, D = self.codebook_KD.shape
        size = f'{K:,} codes of {D} numbers'
        if self.counts_K is None:
            return f'{size}, each made of several codes of a position, so that uses are not counted here.'
        used, total = int((self.counts_K > 0).sum()), int(self.counts_K.sum())
        spread = perplexity(torch.from_numpy(self.counts_K))
        many = 'one photo uses' if self.photos == 1 else f'{self.photos} photos use'
        return (
            f'{size}. {many[0].upper()}{many[1:]} {used:,} of them ({100 * used / K:.1f} %) for {total:,} codes. '
            f'Perplexity: {spread:,.0f}, the number of codes that would be as varied if all were used equally.'
        )


def survey(autoencoder: Autoencoder, photos: Sequence[np.ndarray], longest: int) -> Survey:
    """The codebook, and how photos use it.

    Args:
        photos: uint8 (H, W, 3).
        longest: See `fit`.

    Raises:
        UserError: No codebook, or one that is too large.
    """
    quantizer = autoencoder.require_quantizer(SOURCE)
    codebook_KD = codebook_of(quantizer)
    counts_K = np.zeros(len(codebook_KD), np.int64)
    for photo in photos:
        codes = examine(autoencoder, fit(photo, [autoencoder], longest)).codes
        assert codes is not None
        rows_L = codebook_rows(quantizer, codes)
        if rows_L is None:
            return Survey(codebook_KD, None, len(photos))
        counts_K += np.bincount(rows_L, minlength=len(codebook_KD))
    return Survey(codebook_KD, counts_K, len(photos))


def cloud(survey: Survey, most: int = MOST_POINTS) -> dict[str, list]:
    """The codes on their first two principal axes, for the page: `codes`, `x` and `y` in [0, 1], `counts` and `colours`.

    Of a larger codebook than `most` those that are used most, and others evenly.
    """
    K = len(survey.codebook_KD)
    axes = principal_axes(survey.codebook_KD)
    counts_K = np.zeros(K, np.int64) if survey.counts_K is None else survey.counts_K
    shown = np.arange(K)
    if most < K:
        by_use = np.argsort(-counts_K, kind='stable')
        rest = by_use[most // 2 :]
        shown = np.sort(np.concatenate([by_use[: most // 2], rest[:: -(-len(rest) // (most // 2))]]))
    xy = axes.project(survey.codebook_KD[shown])[:, :2]
    low, high = xy.min(0), xy.max(0)
    xy = (xy - low) / np.where(high > low, high - low, 1.0)
    rgb = colours_of_vectors(survey.codebook_KD[shown], axes)
    return dict(
        codes=shown.tolist(),
        x=xy[:, 0].round(4).tolist(),
        y=xy[:, 1].round(4).tolist(),
        counts=counts_K[shown].tolist(),
        colours=[f'#{r:02x}{g:02x}{b:02x}' for r, g, b in rgb],
    )


def nearest(codebook_KD: np.ndarray, row: int, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The rows nearest to a row, itself left out, and their Euclidean distances; nearest first."""
    if not 0 <= row < len(codebook_KD):
        raise UserError(f'the codebook has codes 0 to {len(codebook_KD) - 1:,}, got {row}.')
    distances_K = np.sqrt(((codebook_KD - codebook_KD[row]) ** 2).sum(1))
    order = np.argsort(distances_K, kind='stable')
    found = order[order != row][:count]
    return found, distances_K[found]


@torch.inference_mode()
def looks(autoencoder: Autoencoder, codes: Sequence[int]) -> list[np.ndarray] | None:
    """What codes look like: the middle of an image made of nothing else, uint8 (h, w, 3) each.

    None if a code is not all there is at a position, or positions do not lie on the image.
    """
    side = LOOK_CELLS * autoencoder.downsample_factor
    try:
        layout = autoencoder.layout(side, side)
    except UserError:  # an encoder of images of one size
        side = autoencoder.encoder.example_size[0]
        layout = autoencoder.layout(*autoencoder.encoder.example_size)
    quantizer = autoencoder.require_quantizer(SOURCE)
    if (
        not isinstance(layout, CodeLayout)
        or layout.slots > 1
        or not isinstance(layout.positions, Grid)
        or quantizer.latent_positions(layout) != layout.positions
    ):
        return None
    device = next(autoencoder.parameters()).device
    pictures = []
    for code in codes:
        indices_BL = torch.full((1, layout.length), code, dtype=torch.int64, device=device)
        picture = array(autoencoder.decode(Codes(indices_BL, layout)))
        top, left = (max(0, (length - autoencoder.downsample_factor * 3) // 2) for length in picture.shape[:2])
        pictures.append(picture[top : picture.shape[0] - top, left : picture.shape[1] - left])
    return pictures


def usage_svg(counts_K: np.ndarray, width: int = 640, height: int = 240) -> str:
    """How often each code is used, the most frequent first, on a logarithmic scale: an SVG in the colour of the text."""
    counts = np.sort(counts_K)[::-1]
    K, most = len(counts), max(int(counts[0]), 1)
    left, bottom, right, top = 70, height - 34, width - 12, 14
    top_log = np.log10(most) or 1.0

    def y_of(count: float) -> float:
        return bottom - (bottom - top) * (np.log10(count) + 0.08 * top_log) / (1.08 * top_log)

    picked = np.unique(np.linspace(0, K - 1, min(K, 600)).round().astype(int))
    points = [(left + (right - left) * i / max(K - 1, 1), y_of(counts[i]) if counts[i] else bottom) for i in picked]
    line = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
    ticks = [10**power for power in range(int(np.log10(most)) + 1)]
    marks = ''.join(
        f'<line x1="{left}" x2="{right}" y1="{y_of(tick):.1f}" y2="{y_of(tick):.1f}" class="grid"/>'
        f'<text x="{left - 8}" y="{y_of(tick) + 4:.1f}" text-anchor="end">{tick:,}</text>'
        for tick in ticks
    )
    ends = ((left, '1', 'start'), (right, f'{K:,}', 'end'))
    marks += ''.join(
        f'<text x="{x}" y="{height - 14}" text-anchor="{anchor}">{text}</text>' for x, text, anchor in ends
    )
    middle = f'<text x="{(left + right) / 2}" y="{height - 14}" text-anchor="middle">codes, the most used first</text>'
    return (
        f'<svg class="fvq-usage" viewBox="0 0 {width} {height}" role="img" aria-label="uses of each code">{marks}{middle}'
        f'<polygon points="{left},{bottom} {line} {right},{bottom}" class="area"/>'
        f'<polyline points="{line}" class="line"/></svg>'
    )
