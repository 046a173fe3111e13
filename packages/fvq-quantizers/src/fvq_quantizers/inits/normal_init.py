"""Normal with a given standard deviation: 1 (ViT-VQGAN, IBQ, EMA codes) or D^-1/2 (SimVQ)."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import CODEBOOK_INITS

from .codebook_init import CodebookInit


@CODEBOOK_INITS.register_module()
class NormalInit(CodebookInit):
    """N(0, std^2).

    Args:
        std: Standard deviation; D^-1/2 if None.
    """

    def __init__(self, std: float | None = None) -> None:
        if std is not None and not std >= 0:
            raise UserError(f'NormalInit: std must be 0 or more, got {std}; leave it out for D^-1/2.')
        self.std = std

    def weights(self, codebook_size: int, dim: int) -> Tensor:
        return torch.randn(codebook_size, dim) * (dim**-0.5 if self.std is None else self.std)
