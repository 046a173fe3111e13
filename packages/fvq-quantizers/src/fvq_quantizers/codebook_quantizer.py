"""The base of quantizers whose codes are the rows of one explicit codebook."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import Codes
from fvq_core.errors import UserError
from fvq_core.quantizer import Quantizer

from .latents import check_codes, to_latent


class CodebookQuantizer(Quantizer):
    """One code a position, an index into `codebook()`.

    Args:
        codebook_size: K.
        code_dim: D, channels of latent and codes.

    Raises:
        UserError: Sizes below 1.
    """

    def __init__(self, codebook_size: int, code_dim: int) -> None:
        super().__init__()
        if codebook_size < 1 or code_dim < 1:
            name, given = type(self).__name__, f'{codebook_size} and {code_dim}'
            raise UserError(f'{name}: codebook_size and code_dim must be 1 or more, got {given}.')
        self.codebook_size, self.code_dim = codebook_size, code_dim

    def embed(self, codes: Codes) -> Tensor:
        positions = check_codes(self, codes)
        return to_latent(F.embedding(codes.indices_BL.reshape(-1), self.codebook()), positions)

    @property
    def vocabularies(self) -> tuple[int, ...]:
        return (self.codebook_size,)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """At most 256 codes of 16 channels: patches of all published sizes still fit."""
        return dict(codebook_size=min(cfg['codebook_size'], 256), code_dim=min(cfg['code_dim'], 16))
