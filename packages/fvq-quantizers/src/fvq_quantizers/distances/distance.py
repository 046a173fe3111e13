"""The base class of distances."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fvq_core.ops.nearest_code import nearest_code, shift


class Distance(nn.Module):
    """What makes a code the best one: a subclass defines `logits`, and `kind` or its own `search` and `shift`.

    Attributes:
        kind: Its name in `nearest_code`.
        at_inference: Whether `takes_batches` holds in evaluation too.
    """

    kind: Literal['l2', 'dot']
    at_inference: bool = False

    @property
    def takes_batches(self) -> bool:
        """Whether `search` assigns a batch as a whole, so that a latent's code depends on the others; some do in training."""
        return False

    def search(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,) of the best codes."""
        return nearest_code(z_ND, codebook_KD, self.kind)

    def shift(self, codebook_KD: Tensor) -> Tensor | None:
        """What `logits` may subtract for less rounding, (D,), or None; see `fvq_core.ops.nearest_code.shift`."""
        return shift(codebook_KD)

    def logits(self, z_ND: Tensor, codebook_KD: Tensor, shift_D: Tensor | None = None) -> Tensor:
        """What `search` compares, up to a constant per row: (N, K), differentiable, largest for the best code.

        Args:
            shift_D: What `shift` returned; it changes only the constants, and the rounding.
        """
        raise NotImplementedError
