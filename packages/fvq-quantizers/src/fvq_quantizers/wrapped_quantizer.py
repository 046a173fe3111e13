"""What residual and multi-scale quantizers ask of the vector quantizer inside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS

from .vector_quantizer import VectorQuantizer


def build_wrapped(owner: str, config: Mapping[str, Any]) -> VectorQuantizer:
    """Build a vector quantizer whose codes will be summed.

    Args:
        owner: The name of the quantizer around it, for messages.
        config: Of a `VectorQuantizer`, with any projector.

    Raises:
        UserError: Another kind of quantizer, an estimator that needs one codebook for its whole value (index
            back-propagation), a normalisation that would make residuals unit vectors, a class-conditional projector or
            one that follows the statistics of latents, or an update that acts on latents before their codes are
            chosen.
    """
    quantizer = QUANTIZERS.build(config)
    if not isinstance(quantizer, VectorQuantizer):
        raise UserError(f'{owner}: wraps a VectorQuantizer, got {type(quantizer).__name__}.')
    if not quantizer.estimator.pairwise:
        raise UserError(
            f'{owner}: {type(quantizer.estimator).__name__} needs one codebook for the whole value, a sum of codes has '
            'none; use StraightThrough.'
        )
    if quantizer.normalize.changes_latent:
        raise UserError(
            f'{owner}: {type(quantizer.normalize).__name__} would put residuals, which shrink, on the unit sphere; use '
            'NoNormalization or CosineSearch.'
        )
    if quantizer.takes_labels:
        raise UserError(
            f'{owner}: {type(quantizer.projector).__name__} with num_classes makes a codebook for each class, and codes '
            'are summed from one; drop num_classes.'
        )
    if getattr(quantizer.projector, 'observes_latents', False):
        raise UserError(
            f'{owner}: {type(quantizer.projector).__name__} follows the statistics of latents, residuals have others at '
            'each step; set use_running_statistics=False.'
        )
    if quantizer.update.acts_before_assignment:
        raise UserError(
            f'{owner}: {type(quantizer.update).__name__} acts on latents before their codes are chosen, and what is '
            'quantized here is known only code by code; use another update.'
        )
    return quantizer
