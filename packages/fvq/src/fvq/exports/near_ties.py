"""How near the choice was where two implementations chose different codes."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from fvq_core.codes import Codes
from fvq_core.quantizer import Quantizer, to_vectors
from fvq_quantizers.gumbel_quantizer import GumbelQuantizer
from fvq_quantizers.implicit_quantizer import ImplicitQuantizer
from fvq_quantizers.multi_scale_quantizer import MultiScaleQuantizer
from fvq_quantizers.product_quantizer import ProductQuantizer
from fvq_quantizers.pyramid import shrink
from fvq_quantizers.residual_quantizer import ResidualQuantizer
from fvq_quantizers.vector_quantizer import VectorQuantizer


@singledispatch
def gaps(quantizer: Quantizer, z_BDHW: Tensor, ours: Codes, theirs: Codes) -> Tensor:
    """The relative gap of each choice that differs, (M,) float64: how much worse theirs is than ours.

    Of distances |z - c| it is (theirs - ours) / ours; of scores, (ours - theirs) / |ours|. Where later codes are chosen for
    what earlier ones left (residual depths, scales), only the first choice that differs counts; the others follow from it.

    Args:
        z_BDHW: The latent.
    """
    z_ND = to_vectors(z_BDHW).double()
    pair = [to_vectors(quantizer.embed(codes)).double() for codes in (ours, theirs)]
    differ_N = (ours.indices_BL != theirs.indices_BL).view(len(z_ND), -1).any(1)
    return of_distances(*((z_ND - each)[differ_N].norm(dim=1) for each in pair))


def of_distances(ours_M: Tensor, theirs_M: Tensor) -> Tensor:
    return (theirs_M - ours_M) / ours_M.clamp_min(torch.finfo(torch.float64).tiny)


def of_scores(ours_M: Tensor, theirs_M: Tensor) -> Tensor:
    return (ours_M - theirs_M) / ours_M.abs().clamp_min(torch.finfo(torch.float64).tiny)


def of_rows(vq: VectorQuantizer, z_ND: Tensor, ours_N: Tensor, theirs_N: Tensor, rows_N: Tensor) -> Tensor:
    """Of some rows of vectors that a vector quantizer assigned."""
    z_MD, codebook_KD = vq.normalize.for_search(vq.normalize.latent(z_ND[rows_N])), vq.codebook()
    pair = [vq.normalize.for_search(codebook_KD[indices_N[rows_N]]).double() for indices_N in (ours_N, theirs_N)]
    if vq.distance.kind == 'dot':
        return of_scores(*((z_MD.double() * codes_MD).sum(1) for codes_MD in pair))
    return of_distances(*((z_MD.double() - codes_MD).norm(dim=1) for codes_MD in pair))


@gaps.register
def _(quantizer: VectorQuantizer, z_BDHW: Tensor, ours: Codes, theirs: Codes) -> Tensor:
    pair = ours.indices_BL.flatten(), theirs.indices_BL.flatten()
    return of_rows(quantizer, to_vectors(z_BDHW).float(), *pair, pair[0] != pair[1])


@gaps.register
def _(quantizer: GumbelQuantizer, z_BDHW: Tensor, ours: Codes, theirs: Codes) -> Tensor:
    differ_N = (ours.indices_BL != theirs.indices_BL).flatten()
    logits_MK = quantizer.to_logits(to_vectors(z_BDHW).float()[differ_N]).double()
    pair = [codes.indices_BL.flatten()[differ_N, None] for codes in (ours, theirs)]
    return of_scores(*(logits_MK.gather(1, chosen)[:, 0] for chosen in pair))


@gaps.register
def _(quantizer: ImplicitQuantizer, z_BDHW: Tensor, ours: Codes, theirs: Codes) -> Tensor:
    x_NGC = quantizer.enter(z_BDHW).double()
    pair = [quantizer.values(quantizer.digits(codes)).double() for codes in (ours, theirs)]
    parts = zip(*(each.split(quantizer.token_channels, 2) for each in (x_NGC, *pair)), strict=True)
    found = []
    for x, first, second in parts:
        differ = (first != second).any(2)
        found.append(of_distances(*((x - each)[differ].norm(dim=1) for each in (first, second))))
    return torch.cat(found)


@gaps.register
def _(quantizer: ProductQuantizer, z_BDHW: Tensor, ours: Codes, theirs: Codes) -> Tensor:
    found, G = [], quantizer.groups
    for group, z in enumerate(z_BDHW.chunk(G, 1)):
        part = quantizer.quantizers[0 if quantizer.shared else group]
        layout = part.layout(ours.layout.positions)
        pair = [Codes(codes.indices_BL[:, group::G], layout) for codes in (ours, theirs)]
        found.append(gaps(part, z, *pair))
    return torch.cat(found)


@gaps.register
def _(quantizer: ResidualQuantizer, z_BDHW: Tensor, ours: Codes, theirs: Codes) -> Tensor:
    residual_ND, found = quantizer.joined.vectors(z_BDHW), []
    pair = [codes.indices_BL.view(-1, quantizer.depth) for codes in (ours, theirs)]
    same_N = torch.ones(len(residual_ND), dtype=torch.bool)
    for depth, codebook_KD in enumerate(quantizer.codebooks()):
        ours_N, theirs_N = (each[:, depth] for each in pair)
        found.append(of_rows(quantizer.at_depth(depth), residual_ND, ours_N, theirs_N, same_N & (ours_N != theirs_N)))
        same_N &= ours_N == theirs_N
        residual_ND = residual_ND - codebook_KD[ours_N]
    return torch.cat(found)


@gaps.register
def _(quantizer: MultiScaleQuantizer, z_BDHW: Tensor, ours: Codes, theirs: Codes) -> Tensor:
    found, same_B, start = [], torch.ones(len(z_BDHW), dtype=torch.bool), 0
    residual_BDHW = z_BDHW.float()
    scales = getattr(ours.layout.positions, 'scales', ())
    for number, (height, width) in enumerate(scales):
        z_ND = to_vectors(shrink(residual_BDHW, height, width))
        pair = [codes.indices_BL[:, start : start + height * width] for codes in (ours, theirs)]
        differ_BL = pair[0] != pair[1]
        rows_N = (differ_BL & same_B[:, None]).flatten()
        found.append(of_rows(quantizer.quantizer, z_ND, pair[0].flatten(), pair[1].flatten(), rows_N))
        same_B &= ~differ_BL.any(1)
        start += height * width
        residual_BDHW = z_BDHW.float() - quantizer.embed_prefix(ours, number + 1)
    return torch.cat(found)
