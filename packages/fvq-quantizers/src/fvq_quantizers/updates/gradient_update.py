"""The optimizer moves the codes; also the base class of every update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from fvq_core.registry import CODEBOOK_UPDATES

if TYPE_CHECKING:
    from ..vector_quantizer import VectorQuantizer


@CODEBOOK_UPDATES.register_module()
class GradientUpdate(nn.Module):
    """The base class: whether the raw codebook is trained, and what else happens to it in each training step.

    Attributes:
        trainable: Whether the raw codebook is a trained parameter.
        writes_codes: Whether `step` writes latents into the raw codebook, which must then be the mapped codebook too: the
            quantizer requires an identity projector.
        overwrites: Whether anything but the optimizer writes into the raw codebook in training. The step then reads a copy
            of it, so that gradients are those of the values used.
        acts_before_assignment: Whether `before_assignment` does anything. Such an update is refused if a latent gets
            several codes (residual, multi-scale) or a batch has several codebooks (class-conditional projectors).
        takes_raw_latents: Whether `step` gets the latents before normalization.
    """

    trainable = True
    writes_codes = False
    overwrites = False
    acts_before_assignment = False
    takes_raw_latents = False

    def attach(self, codebook_KD: Tensor, normalize: nn.Module, distance: nn.Module) -> None:
        """Make buffers for this codebook; called when it is initialized, and again when it is re-initialized."""

    def before_assignment(self, quantizer: VectorQuantizer, z_ND: Tensor) -> Tensor | None:
        """Called in training before latents (N, D) are assigned codes; may move the raw codebook.

        Returns indices (N,) if it assigns the codes itself, or None for the usual search.
        """

    def step(self, codebook_KD: Tensor, z_ND: Tensor, indices_N: Tensor) -> None:
        """Called in training after a batch was quantized; may write into `codebook_KD` in place."""
