"""The interface of codebook inits."""

from __future__ import annotations

from torch import Tensor


class CodebookInit:
    """Initializes the raw codebook.

    An init that reads files sets `component_config`, the config that replaces it in a saved tokenizer: the tokenizer holds
    the values and must load without the file.

    Attributes:
        needs_init: Whether `from_latents` must run before the first training step; until then `weights` is a placeholder.
    """

    needs_init = False

    def weights(self, codebook_size: int, dim: int) -> Tensor:
        """Initial codes (K, dim), float32."""
        raise NotImplementedError

    def from_latents(self, z_ND: Tensor, codebook_size: int) -> Tensor:
        """Initial codes (K, D) from encoder outputs."""
        raise NotImplementedError
