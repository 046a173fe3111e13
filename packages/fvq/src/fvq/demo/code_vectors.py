"""The vector behind each code of an image, where a quantizer has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fvq_core.codes import Codes
from fvq_core.errors import UserError
from fvq_core.quantizer import to_vectors

MAX_CODES = 2**18  # what is drawn and searched of a codebook


@torch.inference_mode()
def codebook_of(quantizer: Any) -> np.ndarray:
    """The codebook, float32 (K, D).

    Raises:
        UserError: More than `MAX_CODES` codes (implicit codebooks have up to 2^36).
    """
    most = getattr(quantizer, 'codebook_size', max(quantizer.vocabularies))
    if most > MAX_CODES:
        raise UserError(
            f'this codebook has {most:,} codes, more than the {MAX_CODES:,} that the page can look through.'
        )
    codebook_KD = quantizer.codebook()
    if len(codebook_KD) > MAX_CODES:
        raise UserError(
            f'this codebook has {len(codebook_KD):,} rows, more than the {MAX_CODES:,} the page can look through.'
        )
    return codebook_KD.float().cpu().numpy()


@torch.inference_mode()
def codebook_rows(quantizer: Any, codes: Codes) -> np.ndarray | None:
    """The row of the codebook that each of an image's codes stands for, int64 (L,); None if rows are made of several codes."""
    device = codebook_device(quantizer)
    rows_BL = quantizer.codebook_indices(Codes(codes.indices_BL.to(device), codes.layout))
    return rows_BL[0].cpu().numpy() if rows_BL.shape[1] == codes.layout.length else None


@torch.inference_mode()
def vectors_of(quantizer: Any, codes: Codes, codebook_KD: np.ndarray | None) -> np.ndarray | None:
    """The vector of each of an image's codes, float32 (L, D): its row of the codebook, or else its part of the latent.

    None if codes have no vectors of their own: several that share a row, or a position, of a codebook that is too large.
    """
    rows_L = None if codebook_KD is None else codebook_rows(quantizer, codes)
    if rows_L is not None and codebook_KD is not None:
        return codebook_KD[rows_L]
    embedded = quantizer.embed(Codes(codes.indices_BL.to(codebook_device(quantizer)), codes.layout))
    vectors_ND = to_vectors(embedded).float().cpu().numpy()
    return vectors_ND if len(vectors_ND) == codes.layout.length else None


def codebook_device(quantizer: Any) -> torch.device:
    """Where a quantizer computes."""
    tensors = [*quantizer.parameters(), *quantizer.buffers()]
    return tensors[0].device if tensors else torch.device('cpu')


def name_of_row(sizes: Sequence[int], row: int, rows: int) -> str:
    """A row of a codebook in words; one of `rows` that are the codes of several slots, of these sizes, tells which slot."""
    if len(sizes) > 1 and sum(sizes) == rows:
        for slot, size in enumerate(sizes):
            if row < size:
                return f'code {row} of book {slot + 1}'
            row -= size
    return f'code {row}'
