"""Which parts of a vector quantizer work together."""

from __future__ import annotations

from typing import Any

from fvq_core.errors import UserError
from fvq_core.projector import Projector


def check_parts(projector: Any, distance: Any, estimator: Any, update: Any, init: Any) -> None:
    """Raise if the parts of a vector quantizer do not work together."""
    name = type(projector).__name__
    if not isinstance(projector, Projector):
        raise UserError(
            f'VectorQuantizer: expected a projector derived from fvq_core.projector.Projector, got {name}; make that its '
            'base class.'
        )
    for part, writes_latents in ((update, update.writes_codes), (init, init.needs_init)):
        if writes_latents and not projector.is_identity:
            raise UserError(
                f'VectorQuantizer: {type(part).__name__} writes latents into the raw codebook, so the projector must be '
                f'the identity, got {name}; drop one of the two.'
            )
    for part, of_batches in ((update, update.acts_before_assignment), (distance, distance.takes_batches)):
        if of_batches and projector.num_classes is not None:
            raise UserError(
                f'VectorQuantizer: {type(part).__name__} acts on a single codebook for the whole batch, and {name} with '
                'num_classes makes one per class; drop one of the two.'
            )
    trained = update.trainable or any(parameter.requires_grad for parameter in projector.parameters())
    if estimator.moves_codes and not trained:
        raise UserError(
            f'VectorQuantizer: {type(estimator).__name__} gives codes a gradient, but {type(update).__name__} trains no '
            f'codebook and {name} has no weights; use StraightThrough, or an update with a trained codebook.'
        )
