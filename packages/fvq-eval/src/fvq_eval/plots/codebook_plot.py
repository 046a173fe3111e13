"""Code usage, and codes among the latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fvq_core.ops.codebook_statistics import perplexity

from .figure import BLUE, GREY, RED, new_figure, save


def plot_codebook(histogram_K: Tensor, codebook_KD: Tensor, z_ND: Tensor | None, path: Path) -> None:
    """Draw the sorted usage of codes and a PCA of codes and latents.

    Args:
        histogram_K: Counts over the evaluation set, int64.
        z_ND: Some latents, as the quantizer compares them with codes; None if it does not.
    """
    K, tokens = len(histogram_K), int(histogram_K.sum())
    used_K = histogram_K > 0
    figure, (bars, scatter) = new_figure(10, 4.4, 1, 2)

    counts = histogram_K.sort(descending=True).values
    bars.plot(range(1, K + 1), counts.clamp_min(0.5), color=BLUE, linewidth=1.5)
    bars.axhline(tokens / K, color=GREY, linewidth=1, linestyle='--', label='all codes alike')
    bars.set_yscale('log')
    usage = 100.0 * used_K.double().mean().item()
    bars.set(
        title=f'{int(used_K.sum())} of {K} codes used ({usage:.1f} %), perplexity {perplexity(histogram_K):.0f}',
        xlabel='code, by frequency',
        ylabel=f'count among {tokens} codes',
    )
    bars.legend(frameon=False, fontsize=8)

    D = codebook_KD.shape[1]
    if z_ND is not None and z_ND.shape[1] % D == 0:  # the parts of a latent, for product codes
        scatter_codes(scatter, codebook_KD, z_ND.reshape(-1, D), used_K)
    else:  # codes are not compared with latents (Gumbel), or a code covers several (`space_to_depth`)
        scatter.set_axis_off()
        scatter.text(0.5, 0.5, 'codes and latents have no space in common', ha='center')
    save(figure, path)


def scatter_codes(scatter: Any, codebook_KD: Tensor, z_ND: Tensor, used_K: Tensor) -> None:
    """Latents and codes on the first two principal axes of the latents."""
    mean_D = z_ND.mean(0)
    _, _, axes_DQ = torch.pca_lowrank(z_ND.float() - mean_D, q=min(2, *z_ND.shape), center=False)
    if axes_DQ.shape[1] < 2:
        axes_DQ = torch.cat([axes_DQ, torch.zeros_like(axes_DQ)], 1)
    z_N2, codes_K2 = (z_ND - mean_D) @ axes_DQ, (codebook_KD - mean_D) @ axes_DQ
    scatter.scatter(*z_N2.T, s=3, color=GREY, alpha=0.35, label='latents', linewidths=0)
    scatter.scatter(*codes_K2[~used_K].T, s=7, color=RED, label='unused codes', linewidths=0)
    scatter.scatter(*codes_K2[used_K].T, s=7, color=BLUE, alpha=0.8, label='used codes', linewidths=0)
    scatter.set(title='first two principal axes of the latents')
    scatter.legend(frameon=False, fontsize=8, markerscale=2, loc='upper right')  # 'best' is slow at large K
