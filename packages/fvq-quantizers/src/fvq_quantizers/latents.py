"""What quantizers share about latents: their shape, their vectors, codes that belong to them."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes
from fvq_core.errors import UserError
from fvq_core.quantizer import Quantizer

Q = TypeVar('Q', bound=Quantizer)


def check_latent(quantizer: Quantizer, z_BDHW: Tensor) -> torch.Size:
    """The shape of a latent that a quantizer takes; a `UserError` for any other."""
    if z_BDHW.dim() != 4 or z_BDHW.shape[1] != quantizer.code_dim:
        name = type(quantizer).__name__
        raise UserError(f'{name}: expected (B, {quantizer.code_dim}, H, W), got {tuple(z_BDHW.shape)}.')
    if not z_BDHW.numel():
        raise UserError(
            f'{type(quantizer).__name__}: a latent without positions, {tuple(z_BDHW.shape)}; give it an image.'
        )
    return z_BDHW.shape


def check_codes(quantizer: Quantizer, codes: Codes) -> tuple[int, int]:
    """Height and width of codes that a quantizer can embed; a `UserError` for any others."""
    layout: CodeLayout = codes.layout
    height, width = getattr(layout, 'height', 1), getattr(layout, 'width', 1)
    expected = quantizer.layout(height, width)
    if layout != expected:
        raise UserError(f'{type(quantizer).__name__}: cannot embed {layout}; expected {expected}.')
    layout.check(codes.indices_BL)
    return height, width


def folded_copy(quantizer: Q, label: int | None) -> Q:
    """`fold()` of a quantizer that has no codebook to map: a copy in eval mode."""
    if label is not None:
        raise UserError(f'{type(quantizer).__name__}: has no classes, so fold() takes no label, got {label}; drop it.')
    return copy.deepcopy(quantizer).eval()


def to_vectors(z_BDHW: Tensor) -> Tensor:
    """(B, D, H, W) to (N, D), positions in reading order."""
    return z_BDHW.permute(0, 2, 3, 1).flatten(0, 2)


def to_grid(z_ND: Tensor, B: int, H: int, W: int) -> Tensor:
    """The inverse of `to_vectors`, laid out like any image: a decoder takes over the memory order of what it is given."""
    return z_ND.view(B, H, W, -1).permute(0, 3, 1, 2).contiguous()
