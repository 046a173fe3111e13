"""The interface of codebook inits."""

from __future__ import annotations

from torch import Tensor


class CodebookInit:
    """Makes the raw codebook's start values.

    An init that reads files sets `component_config`: the config that stands for it in a saved tokenizer, which has its
    values and must load where the file is not.

    Attributes:
        needs_init: Whether `from_latents` must run before the first training step; `weights` is then a stand-in.
    """

    needs_init = False

    def weights(self, codebook_size: int, dim: int) -> Tensor:
        """Start values (K, dim), float32."""
        raise NotImplementedError

    def from_latents(self, z_ND: Tensor, codebook_size: int) -> Tensor:
        """Start values (K, D) from encoder outputs."""
        raise NotImplementedError
