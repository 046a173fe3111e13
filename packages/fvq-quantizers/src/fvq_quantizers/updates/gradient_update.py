"""The optimizer moves the codes; also the interface of every update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from fvq_core.registry import CODEBOOK_UPDATES

if TYPE_CHECKING:
    from ..vector_quantizer import VectorQuantizer


@CODEBOOK_UPDATES.register_module()
class GradientUpdate(nn.Module):
    """The interface: whether the raw codebook takes gradients, and what else happens to it around each training step.

    Attributes:
        trainable: Whether the raw codebook is a trained parameter.
        writes_codes: Whether `step` writes vectors of latent space into the raw codebook; it must then be the mapped
            codebook too, so the quantizer requires an identity projector.
        overwrites: Whether training writes into the raw codebook by any other way than the optimizer. The step then reads
            a copy of it, so that gradients are those of the values that were used.
        acts_before_assignment: Whether `before_assignment` does anything. Where one latent gets several codes (residual,
            multi-scale) or a batch several codebooks (class-conditional projectors) there is no single assignment, and
            such an update is refused.
        takes_raw_latents: Whether `step` wants the latents as they were before any normalisation.
    """

    trainable = True
    writes_codes = False
    overwrites = False
    acts_before_assignment = False
    takes_raw_latents = False

    def attach(self, codebook_KD: Tensor, normalize: nn.Module, distance: nn.Module) -> None:
        """Make buffers for this codebook; called after its start values are set, and again when they are set anew.

        Args:
            codebook_KD: The raw codebook.
            normalize: The quantizer's normalization; with `distance`, how codes are chosen.
            distance: The quantizer's distance.
        """

    def before_assignment(self, quantizer: VectorQuantizer, z_ND: Tensor) -> Tensor | None:
        """Called in training before codes are chosen for latents (N, D); may move the raw codebook.

        Returns:
            Indices (N,) of the codes to use, or None for the usual search.
        """

    def step(self, codebook_KD: Tensor, z_ND: Tensor, indices_N: Tensor) -> None:
        """Called in training after the codes of a batch were used; may write into `codebook_KD` in place."""
