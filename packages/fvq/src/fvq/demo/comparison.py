"""One photo through two autoencoders."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fvq_core.autoencoder import Autoencoder

from .board import board, panel
from .examination import Examination, difference, examine
from .fitting import fit
from .view import GAIN


def compare(
    photo: np.ndarray, autoencoders: dict[str, Autoencoder], longest: int
) -> tuple[dict[str, Any], list[list[str]]]:
    """The board of a comparison, and its table: a row for each autoencoder.

    Args:
        photo: uint8 (H, W, 3).
        autoencoders: By name, two or more.
        longest: See `fit`.
    """
    pixels = fit(photo, list(autoencoders.values()), longest)
    found = {name: examine(autoencoder, pixels) for name, autoencoder in autoencoders.items()}
    stronger = f'{GAIN:g} times as strong'
    panels = [panel('Original', pixels, f'{pixels.shape[1]} x {pixels.shape[0]}')]
    panels += [panel(name, each.reconstruction) for name, each in found.items()]
    panels += [
        panel(f'Difference, {name}', difference(pixels, each.reconstruction, GAIN), stronger)
        for name, each in found.items()
    ]
    return board(panels), [row(name, each) for name, each in found.items()]


HEADER = ['', 'PSNR', 'SSIM', 'codes', 'of them different', 'bits per pixel']


def row(name: str, examined: Examination) -> list[str]:
    """A row of the table, under `HEADER`; what does not apply is a dash."""
    psnr = f'{examined.psnr:.2f} dB' if math.isfinite(examined.psnr) else 'exact'
    ssim = '-' if examined.ssim is None else f'{examined.ssim:.3f}'
    if examined.codes is None:
        return [name, psnr, ssim, 'none, continuous', '-', '-']
    indices_L = examined.codes.indices_BL[0].numpy()
    return [name, psnr, ssim, f'{len(indices_L):,}', f'{len(np.unique(indices_L)):,}', f'{examined.bits_per_pixel:.2f}']
