"""Bitwise self-correction (Infinity, Han et al., 2025, section 3.4): training on the mistakes that sampling makes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fvq_core.codes import Pyramid
from fvq_core.quantizer import NextScale

from .scale_decoding import look_up


@runtime_checkable
class BitScales(NextScale, Protocol):
    """A quantizer of scales that can quantize again what flipped bits have left of a latent."""

    def quantize_scale(self, residual_BDHW: Tensor, scale: int) -> Tensor:
        """Codes (B, L_scale) of what the scales before `scale` have left."""
        ...


def flipped_bits(bits_BL: Tensor, most: float) -> Tensor:
    """Bits, each flipped with a probability that is drawn from [0, most] once for all of them."""
    strength = most * torch.rand((), device=bits_BL.device)
    return torch.where(torch.rand(bits_BL.shape, device=bits_BL.device) < strength, 1 - bits_BL, bits_BL)


@torch.no_grad()
def self_corrected(quantizer: BitScales, z_BDHW: Tensor, pyramid: Pyramid, flips: float) -> tuple[Tensor, Tensor]:
    """Targets and inputs of teacher forcing with mistakes: bits (B, L) and sums (B, positions - L_1, D).

    At each scale the residual that is left by the flipped bits of the scales before it is quantized. These bits are the target;
    with some of them flipped they go into the sum.

    Args:
        quantizer: Of the tokenizer, in eval mode.
        z_BDHW: Latents, before they are quantized.
        pyramid: The scales of the codes.
        flips: The largest share of flipped bits; a scale's share is drawn evenly from [0, flips].
    """
    z_BDHW, codebook_KC = z_BDHW.float(), quantizer.codebook()
    sum_BDHW, targets, inputs = torch.zeros_like(z_BDHW), [], []
    for scale, size in enumerate(pyramid.scales):
        targets.append(quantizer.quantize_scale(z_BDHW - sum_BDHW, scale))
        if scale + 1 == len(pyramid.scales):
            break
        codes_BLD = look_up(codebook_KC, flipped_bits(targets[-1], flips), quantizer.code_dim)
        codes_BDhw = codes_BLD.transpose(1, 2).unflatten(2, size)
        sum_BDHW, next_BDhw = quantizer.advance(sum_BDHW, codes_BDhw, scale)
        inputs.append(next_BDhw.flatten(2).transpose(1, 2))
    return torch.cat(targets, 1), torch.cat([z_BDHW.new_empty(len(z_BDHW), 0, z_BDHW.shape[1]), *inputs], 1)
