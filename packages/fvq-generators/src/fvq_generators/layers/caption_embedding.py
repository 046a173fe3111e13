"""Captions as tokens: features of a text encoder through a small network, dropped now and then."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.finite import check_finite_images


class Captions(nn.Module):
    """Conditions that are features of a text encoder.

    Args:
        caption_dim: Channels C of the features; 2,048 of Flan-T5-XL.
        tokens: Feature vectors T of a caption, padded on the left.
        dropout: Share of the captions that training replaces by none.
    """

    def __init__(self, caption_dim: int, tokens: int, dropout: float) -> None:
        super().__init__()
        self.caption_dim, self.tokens, self.drop_rate = caption_dim, tokens, dropout

    def check(self, captions_BTC: Tensor) -> None:
        """Raise if captions are not features of this shape; reads them from the device.

        Raises:
            UserError: Another shape or dtype.
            NonFiniteError: Features that are NaN or infinite.
        """
        wanted = (self.tokens, self.caption_dim)
        if captions_BTC.dim() != 3 or captions_BTC.shape[1:] != wanted or not captions_BTC.is_floating_point():
            raise UserError(
                f'captions are float features (B, {wanted[0]}, {wanted[1]}), got {captions_BTC.dtype} of shape '
                f'{tuple(captions_BTC.shape)}; pad them on the left and mask the padding.'
            )
        if len(captions_BTC):
            check_finite_images(captions_BTC, 'the caption features', len(captions_BTC), 'look at what made them')

    def check_mask(self, mask_BT: Tensor | None, batch: int, owner: str) -> Tensor | None:
        """The mask as bool; raises unless it has a line for each caption."""
        if mask_BT is not None and mask_BT.shape != (batch, self.tokens):
            raise UserError(
                f'{owner}: expected a caption mask of {(batch, self.tokens)}, a line for each caption, got '
                f'{tuple(mask_BT.shape)}.'
            )
        return None if mask_BT is None else mask_BT.bool()


class CaptionEmbedding(Captions):
    """A two-layer network on each feature vector; a fixed random caption stands for none.

    As released, the caption for none is drawn once and not trained. It is a buffer.

    Args:
        caption_dim: Channels C of the features; 2,048 of Flan-T5-XL.
        dim: Channels D.
        tokens: Feature vectors T of a caption; 120 in LlamaGen, padded on the left.
        dropout: Share of the captions that training replaces by none.
    """

    unconditional_TC: Tensor

    def __init__(self, caption_dim: int, dim: int, tokens: int = 120, dropout: float = 0.1) -> None:
        super().__init__(caption_dim, tokens, dropout)
        self.inner = nn.Linear(caption_dim, dim, bias=False)
        self.outer = nn.Linear(dim, dim, bias=False)
        self.register_buffer('unconditional_TC', torch.randn(tokens, caption_dim) / caption_dim**0.5)

    def null(self, captions_BTC: Tensor) -> Tensor:
        """No caption, for as many."""
        return self.unconditional_TC.to(captions_BTC.dtype).expand_as(captions_BTC)

    def drop(self, captions_BTC: Tensor) -> Tensor:
        """Captions with a random share replaced by none."""
        dropped_B = torch.rand(captions_BTC.shape[0], device=captions_BTC.device) < self.drop_rate
        return torch.where(dropped_B[:, None, None], self.null(captions_BTC), captions_BTC)

    def forward(self, captions_BTC: Tensor) -> Tensor:
        """(B, T, C) of any float dtype to (B, T, D)."""
        captions_BTC = captions_BTC.to(self.inner.weight.dtype)
        if self.training and self.drop_rate > 0:
            captions_BTC = self.drop(captions_BTC)
        return self.outer(F.gelu(self.inner(captions_BTC), approximate='tanh'))
