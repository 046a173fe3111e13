"""Colours for codes: similar codes, similar colours."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

SPREAD = 2.2  # standard deviations from the middle of the scale to its end
GOLDEN = 0.6180339887498949  # share of the circle between the hues of two codes in a row


@dataclass(frozen=True, eq=False)
class Axes:
    """The three axes along which vectors differ most, and their spread: what maps vectors to colours.

    Args:
        mean_D: (D,).
        axes_D3: (D, 3), columns of zeros if there are fewer axes.
        spread_3: Standard deviation along each.
    """

    mean_D: np.ndarray
    axes_D3: np.ndarray
    spread_3: np.ndarray

    def project(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Coordinates (N, 3)."""
        return (vectors_ND - self.mean_D) @ self.axes_D3


def principal_axes(vectors_ND: np.ndarray) -> Axes:
    """The first three principal axes, each with its largest component positive, so that they are always the same."""
    mean_D = vectors_ND.mean(0, dtype=np.float64)
    centred = vectors_ND - mean_D
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes_DQ = vectors[:, ::-1][:, :3]
    signs = np.sign(axes_DQ[np.abs(axes_DQ).argmax(0), np.arange(axes_DQ.shape[1])])
    axes_D3 = np.zeros((len(mean_D), 3))
    axes_D3[:, : axes_DQ.shape[1]] = axes_DQ * np.where(signs, signs, 1.0)
    return Axes(mean_D, axes_D3, (centred @ axes_D3).std(0))


def colours_of_vectors(vectors_ND: np.ndarray, axes: Axes) -> np.ndarray:
    """uint8 (N, 3): the first axis is brightness, the others turn the hue."""
    scaled = np.clip(axes.project(vectors_ND) / np.maximum(SPREAD * axes.spread_3, 1e-12), -1, 1)
    light, a, b = (scaled * np.array([0.30, 0.42, 0.42])).T
    rgb = np.stack([0.52 + light + a, 0.52 + light - 0.5 * a - 0.35 * b, 0.52 + light + b], 1)
    return (np.clip(rgb, 0.04, 0.98) * 255).round().astype(np.uint8)


def colours_of_numbers(codes_N: np.ndarray) -> np.ndarray:
    """uint8 (N, 3): a hue for each code that its neighbours do not have; for codes without vectors."""
    values, inverse = np.unique(codes_N, return_inverse=True)
    table = [colorsys.hsv_to_rgb((int(value) * GOLDEN) % 1.0, 0.55, 0.85) for value in values]
    return (np.array(table)[inverse.reshape(-1)] * 255).round().astype(np.uint8)
