"""Uniform in +-scale, by default +-1/K (VQ-VAE, VQGAN, LlamaGen, FVQ)."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import CODEBOOK_INITS

from .codebook_init import CodebookInit


@CODEBOOK_INITS.register_module()
class UniformInit(CodebookInit):
    """U(-scale, scale).

    Args:
        scale: Largest magnitude; 1 / K if None.
        normalize: Divide each initial code by its norm, as LlamaGen does for its normalized codebook.
    """

    def __init__(self, scale: float | None = None, normalize: bool = False) -> None:
        if scale is not None and not scale >= 0:
            raise UserError(f'UniformInit: scale must be 0 or more, got {scale}; leave it out for 1 / K.')
        self.scale, self.normalize = scale, normalize

    def weights(self, codebook_size: int, dim: int) -> Tensor:
        scale = 1.0 / codebook_size if self.scale is None else self.scale
        weights = torch.empty(codebook_size, dim).uniform_(-scale, scale)
        return torch.nn.functional.normalize(weights, dim=-1) if self.normalize else weights
