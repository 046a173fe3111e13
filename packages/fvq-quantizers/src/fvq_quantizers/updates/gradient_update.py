"""The optimizer moves the codes; also the interface of every update."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.registry import CODEBOOK_UPDATES


@CODEBOOK_UPDATES.register_module()
class GradientUpdate(nn.Module):
    """The interface: whether the raw codebook takes gradients, and what happens to it after each training step.

    Attributes:
        trainable: Whether the raw codebook is a trained parameter.
        writes_codes: Whether `step` writes vectors of latent space into the raw codebook; it must then be the mapped
            codebook too, so the quantizer requires an identity projector.
    """

    trainable = True
    writes_codes = False

    def attach(self, codebook_KD: Tensor) -> None:
        """Make buffers for this codebook; called once, after its start values are set."""

    def step(self, codebook_KD: Tensor, z_ND: Tensor, indices_N: Tensor) -> None:
        """Called in training after the codes of a batch were used; may write into `codebook_KD` in place."""
