"""What residual and multi-scale quantizers require of the quantizer inside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS

from .implicit_quantizer import ImplicitQuantizer
from .losses.assignment_cross_entropy import CodebookLoss
from .vector_quantizer import VectorQuantizer


def build_wrapped(
    owner: str, config: Mapping[str, Any], unit_residuals: bool = False
) -> VectorQuantizer | ImplicitQuantizer:
    """Build a quantizer whose codes `owner` will sum; raises if its parts do not allow that.

    Args:
        unit_residuals: Whether residuals may be put on the unit sphere.
    """
    quantizer = QUANTIZERS.build(config)
    if isinstance(quantizer, ImplicitQuantizer):
        return checked_implicit(owner, quantizer)
    if not isinstance(quantizer, VectorQuantizer):
        raise UserError(f'{owner}: wraps a VectorQuantizer, LFQ, BSQ, FSQ or FSP, got {type(quantizer).__name__}.')
    if not quantizer.estimator.pairwise:
        raise UserError(
            f'{owner}: {type(quantizer.estimator).__name__} needs the codebook of the quantized value, and a sum of codes '
            'has none; use StraightThrough.'
        )
    if isinstance(quantizer.loss, CodebookLoss):
        raise UserError(
            f'{owner}: {type(quantizer.loss).__name__} compares a latent with all codes, and a sum of codes is none of them; '
            'use VQLoss.'
        )
    if quantizer.normalize.changes_latent and not unit_residuals:
        raise UserError(
            f'{owner}: {type(quantizer.normalize).__name__} would put residuals on the unit sphere; use '
            'NoNormalization or CosineSearch.'
        )
    if quantizer.projector.num_classes is not None:
        raise UserError(
            f'{owner}: {type(quantizer.projector).__name__} with num_classes makes a codebook for each class, and codes '
            'are summed from one; drop num_classes.'
        )
    if quantizer.projector.observes_latents:
        raise UserError(
            f'{owner}: {type(quantizer.projector).__name__} follows the statistics of latents, and those of residuals '
            'differ at each step; set use_running_statistics=False.'
        )
    if quantizer.update.acts_before_assignment:
        raise UserError(
            f'{owner}: {type(quantizer.update).__name__} acts before codes are assigned, and residuals are only known '
            'once the codes before them are; use another update.'
        )
    quantizer.resizable = False  # the latents that are known beforehand are not the residuals that it will see
    return quantizer


def checked_implicit(owner: str, quantizer: ImplicitQuantizer) -> ImplicitQuantizer:
    """The quantizer, if its codes are in the space of the residuals and are the same in training."""
    name = type(quantizer).__name__
    if quantizer.projected:
        raise UserError(
            f'{owner}: {name} would map each residual into another space and back; drop code_dim, the tokenizer maps features '
            'to the channels of its codes.'
        )
    if quantizer.perturbs:
        raise UserError(
            f'{owner}: what {name} perturbs in training would reach the residuals; drop noise_dropout, set quantize_rate=1.'
        )
    return quantizer


def trains_codes(quantizer: VectorQuantizer) -> bool:
    """Whether the quantized value gets a gradient from the loss or through the estimator."""
    with torch.enable_grad():
        z_ND, z_q_ND = torch.ones(1, quantizer.code_dim), torch.zeros(1, quantizer.code_dim, requires_grad=True)
        estimate_ND = quantizer.estimator.pair(z_ND, z_q_ND)
        in_loss = any(term.requires_grad for term in quantizer.loss(z_ND, z_q_ND, estimate_ND).values())
        return in_loss or estimate_ND.requires_grad
