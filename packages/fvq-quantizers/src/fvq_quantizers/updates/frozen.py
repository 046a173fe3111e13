"""The raw codebook never moves; only a projector adapts it (SimVQ, VQGAN-LC)."""

from __future__ import annotations

from fvq_core.registry import CODEBOOK_UPDATES

from .gradient_update import GradientUpdate


@CODEBOOK_UPDATES.register_module()
class Frozen(GradientUpdate):
    """No gradient and no update for the raw codebook."""

    trainable = False
