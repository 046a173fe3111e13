"""What an image costs against how well it is reconstructed, a point for each method."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .figure import BLUE, GREY, new_figure, save


@dataclass(frozen=True)
class RatePoint:
    """A method, with one value a seed.

    Attributes:
        psnr: In dB.
        bits: Of an image, under a generator.
        unigram: Of an image, under the unigram code.
    """

    psnr: Sequence[float]
    bits: Sequence[float]
    unigram: Sequence[float]


def plot_rate_distortion(points: Mapping[str, RatePoint], path: Path) -> bool:
    """Draw the methods by name into a PNG: means, bars from the smallest to the largest seed; False without any."""
    if not points:
        return False
    figure, (axis,) = new_figure(8, 5, 1, 1)
    for name, point in points.items():
        psnr, bits, unigram = map(statistics.fmean, (point.psnr, point.bits, point.unigram))
        axis.plot([bits, unigram], [psnr, psnr], color=GREY, linewidth=0.8, zorder=1)
        axis.scatter([unigram], [psnr], facecolors='white', edgecolors=BLUE, s=28, zorder=2)
        bars = [around(point.bits, bits), around(point.psnr, psnr)]
        axis.errorbar(
            [bits], [psnr], xerr=bars[0], yerr=bars[1], fmt='o', color=BLUE, markersize=5, elinewidth=1, zorder=3
        )
        axis.annotate(name, (bits, psnr), textcoords='offset points', xytext=(4, 4), fontsize=8)
    axis.set(xlabel='bits an image', ylabel='PSNR (dB)')
    save(figure, path)
    return True


def around(values: Sequence[float], mean: float) -> list[list[float]]:
    """How far the smallest and the largest lie from the mean, as matplotlib takes it."""
    return [[max(0.0, mean - min(values))], [max(0.0, max(values) - mean)]]
