"""t-SNE of the mapped codebook and the latents (figure 2 of the paper, right)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.tokenizer import Tokenizer

from .sources import latents_and_counts


@dataclass(frozen=True)
class Map:
    """Codes and latents of one tokenizer in two dimensions.

    Attributes:
        used_M: Which of them were chosen by any latent of the images, drawn or not.
        codes: K.
        used: Number of used codes among all K.
        tokens: Number of codes that the images were encoded to.
    """

    name: str
    codes_M2: Tensor
    used_M: Tensor
    latents_S2: Tensor
    codes: int
    used: int
    tokens: int
    images: int


def make_map(
    name: str,
    tokenizer: Tokenizer,
    batches: Iterator[Tensor],
    codes: int = 1024,
    latents: int = 1024,
    perplexity: float = 30.0,
    seed: int = 0,
) -> Map:
    """One joint t-SNE of codes and latents, the same for a seed every time.

    Args:
        tokenizer: Tokenizer in eval mode, on the CPU.
        batches: Images; usage is counted over all of them.
        codes: Codes that are drawn, at most; a random choice, so used and unused ones keep their shares.
        perplexity: t-SNE's: about how many neighbours count; below the number of points.
        seed: Seed of the random choices and of t-SNE.

    Raises:
        UserError: Fewer points than t-SNE needs, or latents and codes of different widths.
    """
    from sklearn.manifold import TSNE  # slow to import, and nothing else needs it

    z_ND, histogram_K, images = latents_and_counts(tokenizer, batches)
    with torch.no_grad():
        codebook_KD = tokenizer.quantizer.codebook().detach()  # an identity projector gives the parameter itself
    if z_ND.shape[1] != codebook_KD.shape[1]:
        raise UserError(
            f'{name}: latents have {z_ND.shape[1]} channels and codes {codebook_KD.shape[1]}, too different for one map.'
        )
    rng = torch.Generator().manual_seed(seed)
    rows_M = torch.randperm(len(codebook_KD), generator=rng)[:codes]
    places_S = torch.randperm(len(z_ND), generator=rng)[:latents]
    points_PD = torch.cat([codebook_KD[rows_M], z_ND[places_S]]).float()
    if not 0 < perplexity < len(points_PD):
        raise UserError(
            f't-SNE: perplexity must lie above 0 and below the {len(points_PD)} points, not {perplexity:g}.'
        )
    points_P2 = TSNE(perplexity=perplexity, init='pca', random_state=seed, n_jobs=1).fit_transform(points_PD.numpy())
    codes_M2, latents_S2 = torch.from_numpy(points_P2).split([len(rows_M), len(places_S)])
    used_K = histogram_K > 0
    counts = dict(codes=len(codebook_KD), used=int(used_K.sum()), tokens=int(histogram_K.sum()), images=images)
    return Map(name, codes_M2, used_K[rows_M], latents_S2, **counts)
