"""Latents and codes as they are; also the base class of every normalization."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.registry import NORMALIZATIONS


@NORMALIZATIONS.register_module()
class NoNormalization(nn.Module):
    """The base class, with hooks that a method may use to normalize; here none does.

    Attributes:
        changes_latent: Whether `latent` does anything.
    """

    changes_latent = False

    def latent(self, z_ND: Tensor) -> Tensor:
        """The latent as the search, the losses and the estimator see it."""
        return z_ND

    def for_estimator(self, latents_ND: Tensor, z_ND: Tensor) -> Tensor:
        """`z_ND`, what `latent` made of `latents_ND`, with the gradient that the estimator's output passes on."""
        return z_ND

    def codes(self, codebook_KD: Tensor) -> Tensor:
        """The codebook as the search, the losses and the decoder see it: what `Quantizer.codebook()` returns."""
        return codebook_KD

    def for_search(self, x: Tensor) -> Tensor:
        """Latents or codes as only the search sees them."""
        return x
