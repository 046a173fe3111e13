"""One photo through two autoencoders."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fvq_core.autoencoder import Autoencoder

from .board import board, panel
from .examination import Examination, difference, examine
from .fitting import fit
from .view import AMPLIFIED, GAIN


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
    panels = [panel('Original', pixels, f'{pixels.shape[1]} x {pixels.shape[0]}')]
    panels += [panel(name, each.reconstruction) for name, each in found.items()]
    for number, (name, each) in enumerate(found.items(), 2):  # under the reconstruction
        lost = difference(pixels, each.reconstruction, GAIN)
        panels.append(panel(f'Difference, {name}', lost, AMPLIFIED) | dict(column=number))
    return board(panels, columns=len(found) + 1), [row(name, each) for name, each in found.items()]


def table(rows: list[list[str]]) -> str:
    """The rows under `HEADER`, in Markdown."""
    rule = ['---', *['---:'] * (len(HEADER) - 1)]
    lines = [HEADER, rule, *([cell.replace('|', '/') for cell in each] for each in rows)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


HEADER = ['tokenizer', 'PSNR', 'SSIM', 'codes', 'of them different', 'bits per pixel']


def row(name: str, examined: Examination) -> list[str]:
    """A row of the table, under `HEADER`; what does not apply is a dash."""
    psnr = f'{examined.psnr:.2f} dB' if math.isfinite(examined.psnr) else 'exact'
    ssim = '-' if examined.ssim is None else f'{examined.ssim:.3f}'
    if examined.codes is None:
        return [name, psnr, ssim, 'none, continuous', '-', '-']
    indices_L = examined.codes.indices_BL[0].numpy()
    return [name, psnr, ssim, f'{len(indices_L):,}', f'{len(np.unique(indices_L)):,}', f'{examined.bits_per_pixel:.2f}']
