"""A residual or multi-scale quantizer's steps around an implicit codebook: LFQ, BSQ and FSQ (Infinity, Han et al., 2025).

Each step passes the decoder's gradient on by its own straight-through estimate, and has its own losses, as released.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fvq_core.codes import Codes
from fvq_core.codes import Sequence as InSequence
from fvq_core.errors import UserError

from .implicit_quantizer import ImplicitQuantizer
from .latents import check_finite


def check_code_scales(owner: str, code_scales: Sequence[float] | None, steps: int, implicit: bool) -> tuple[float, ...]:
    """The size of each step's codes, 1 by default; raises unless there is one above 0 for each, of an implicit codebook."""
    if code_scales is None:
        return (1.0,) * steps
    sizes = tuple(code_scales) if isinstance(code_scales, Sequence) else ()
    if not implicit or len(sizes) != steps or not all(0 < size < math.inf for size in sizes):
        raise UserError(
            f'{owner}: code_scales takes a number above 0 for each of the {steps} steps, around LFQ, BSQ or FSQ (a trained '
            f'codebook finds its own size), got {code_scales}.'
        )
    return sizes


def quantize_step(
    quantizer: ImplicitQuantizer, residual_ND: Tensor, code_scale: float, images: int
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Tokens (N, T), codes (N, D) with the estimate's gradient in training, and the losses of a training step."""
    z_NGC = (residual_ND / code_scale).unflatten(1, (quantizer.groups, -1))
    x_NGC = quantizer.bound(z_NGC)
    check_finite(quantizer, x_NGC, 'the bounded residuals', images)
    digits_NGC = quantizer.choose(x_NGC)
    codes_NGC = quantizer.values(digits_NGC)
    if not quantizer.training:
        return quantizer.tokens(digits_NGC), codes_NGC.flatten(1) * code_scale, {}
    losses = {**quantizer.losses(x_NGC, codes_NGC), **quantizer.latent_losses(z_NGC)}
    value_NGC = quantizer.estimate(x_NGC, codes_NGC)
    return quantizer.tokens(digits_NGC), value_NGC.flatten(1) * code_scale, losses


def quantize_steps(
    quantizer: ImplicitQuantizer, z_ND: Tensor, code_scales: Sequence[float], images: int
) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
    """Tokens (N, T) and partial sums (N, D) of each depth of a residual quantizer, and the losses averaged over depths."""
    residual_ND, partial_ND = z_ND, torch.zeros_like(z_ND)
    tokens, sums, terms = [], [], []
    for code_scale in code_scales:
        tokens_NT, value_ND, losses = quantize_step(quantizer, residual_ND, code_scale, images)
        residual_ND, partial_ND = residual_ND - value_ND.detach(), partial_ND + value_ND
        tokens.append(tokens_NT)
        sums.append(partial_ND)
        terms.append(losses)
    return tokens, sums, {key: torch.stack([term[key] for term in terms]).mean() for key in terms[0]}


def look_up(quantizer: ImplicitQuantizer, tokens_NT: Tensor, code_scale: float) -> Tensor:
    """The codes (N, D) of tokens, as `quantize_step` computes them."""
    return quantizer.values(quantizer.digits_of(tokens_NT)).flatten(1) * code_scale


def rows_of_steps(quantizer: ImplicitQuantizer, codes: Codes) -> Tensor:
    """Rows of the wrapped quantizer's codebook, one for each code of a step, in the order of the codes."""
    layout = quantizer.layout(InSequence(codes.indices_BL.shape[1] // len(quantizer.vocabularies)))
    return quantizer.codebook_indices(Codes(codes.indices_BL, layout))
