"""Text as tokens of a vocabulary."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.errors import UserError


class TokenEmbedding(nn.Module):
    """A table of the tokens of a text. The places in it are the model's.

    Args:
        vocabulary: Number of tokens that there are.
        dim: Channels D.
        tokens: Tokens T of each text.
    """

    drop_rate = 0.0

    def __init__(self, vocabulary: int, dim: int, tokens: int) -> None:
        super().__init__()
        self.num_classes, self.tokens = vocabulary, tokens
        self.table = nn.Embedding(vocabulary, dim)

    def check(self, text_BT: Tensor) -> None:
        """Raise if these are not texts of this vocabulary; reads them from the device."""
        shape = tuple(text_BT.shape)
        if text_BT.is_floating_point() or text_BT.is_complex() or shape[1:] != (self.tokens,):
            raise UserError(f'texts are whole numbers (B, {self.tokens}), got {text_BT.dtype} of shape {shape}.')
        if text_BT.numel() and (text_BT.min() < 0 or text_BT.max() >= self.num_classes):
            raise UserError(
                f'tokens of a text lie in 0 to {self.num_classes - 1}, got {text_BT.min().item()} to {text_BT.max().item()}.'
            )

    def forward(self, text_BT: Tensor) -> Tensor:
        """(B, T) to (B, T, D)."""
        return self.table(text_BT.long())
