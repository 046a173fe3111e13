"""Codes among latents, tokenizer by tokenizer (figure 2 of the paper, right)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from ..analysis.tsne import Map
from .figure import BLUE, GREY, RED, new_figure, save
from .run_curves_plot import legend_below


def plot_maps(maps: Sequence[Map], path: Path) -> None:
    """Draw one pair of axes a tokenizer, each stamped with how many codes and latents it shows and what usage counts."""
    columns = min(3, len(maps))
    rows = math.ceil(len(maps) / columns)
    figure, axes = new_figure(4.8 * columns, 5.3 * rows + 0.3, rows, columns)
    for axis, one in zip(axes, maps, strict=False):
        used_M = one.used_M
        axis.scatter(*one.latents_S2.T, s=5, color=GREY, alpha=0.45, linewidths=0, label='latents')
        axis.scatter(*one.codes_M2[~used_M].T, s=10, color=RED, alpha=0.8, linewidths=0, label='unused codes')
        axis.scatter(*one.codes_M2[used_M].T, s=10, color=BLUE, alpha=0.8, linewidths=0, label='used codes')
        share = 100.0 * one.used / one.codes
        stamp = (
            f'{one.used:,} of {one.codes:,} codes used ({share:.1f} %)\n'
            f'by {one.tokens:,} codes of {one.images:,} images\n'
            f'shown: {len(one.codes_M2):,} codes, {len(one.latents_S2):,} latents'
        )
        axis.set_title('\n'.join([*textwrap.wrap(one.name, 44), stamp]), fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[len(maps) :]:
        axis.set_visible(False)
    legend_below(figure, axes)
    save(figure, path)
