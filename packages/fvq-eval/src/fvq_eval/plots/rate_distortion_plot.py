"""What an image costs against how well it is reconstructed, a point for each method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .figure import BLUE, GREY, new_figure, save


def plot_rate_distortion(points: Mapping[str, tuple[float, float, float]], path: Path) -> bool:
    """Draw the rows; False without any.

    Args:
        points: By name: PSNR in dB, bits an image of a generator, and of the unigram code.
        path: PNG to write.
    """
    if not points:
        return False
    figure, (axis,) = new_figure(8, 5, 1, 1)
    for name, (psnr, bits, unigram) in points.items():
        axis.plot([bits, unigram], [psnr, psnr], color=GREY, linewidth=0.8, zorder=1)
        axis.scatter([unigram], [psnr], facecolors='white', edgecolors=BLUE, s=28, zorder=2)
        axis.scatter([bits], [psnr], color=BLUE, s=28, zorder=3)
        axis.annotate(name, (bits, psnr), textcoords='offset points', xytext=(4, 4), fontsize=8)
    axis.set(xlabel='bits an image', ylabel='PSNR (dB)')
    save(figure, path)
    return True
