"""An image's representation, a vector of a frozen encoder, as one token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.finite import check_finite_images


class RepresentationEmbedding(nn.Module):
    """A linear map; a learned vector stands for no representation.

    Args:
        channels: Channels C of a representation.
        dim: Channels D.
        dropout: Share of the representations that training replaces by none; 0 for a model without guidance.
    """

    tokens = 1

    def __init__(self, channels: int, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.channels, self.drop_rate = channels, dropout
        self.project = nn.Linear(channels, dim)
        self.none = nn.Parameter(torch.randn(channels) * 0.02) if dropout else None

    def check(self, features: Tensor) -> None:
        """Raise if these are not finite vectors (B, C) or (B, 1, C); reads them from the device.

        Raises:
            UserError: Another shape or dtype.
            NonFiniteError: Features that are NaN or infinite.
        """
        shape = tuple(features.shape)
        if shape[1:] not in ((self.channels,), (1, self.channels)) or not features.is_floating_point():
            raise UserError(
                f'representations are float vectors (B, {self.channels}), got {features.dtype} of shape {shape}; give what '
                'the encoder that the model was trained with says of each image.'
            )
        if len(features):
            check_finite_images(features, 'the representations', len(features), 'look at what made them')

    def null(self, features_BC: Tensor) -> Tensor:
        """No representation, for as many."""
        if self.none is None:
            raise UserError('this model was trained without dropping representations and knows no images without.')
        return self.none.expand(len(features_BC), -1)

    def forward(self, features_BC: Tensor) -> Tensor:
        """(B, C) to (B, 1, D); drops some in training."""
        features_BC = features_BC.to(self.project.weight.dtype)
        if self.training and self.drop_rate > 0:
            dropped_B = torch.rand(len(features_BC), device=features_BC.device) < self.drop_rate
            features_BC = torch.where(dropped_B[:, None], self.null(features_BC), features_BC)
        return self.project(features_BC)[:, None]
