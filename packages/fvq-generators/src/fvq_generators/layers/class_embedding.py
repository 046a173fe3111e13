"""Classes as one token, dropped now and then so that the model also learns to go without."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError


class Classes(nn.Module):
    """Conditions that are classes, without a table of their own.

    Args:
        num_classes: Number of classes.
        dropout: Share of the classes that training replaces by none; 0 for a model without guidance.
    """

    tokens = 1

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_classes, self.drop_rate = num_classes, dropout

    def check(self, labels_B: Tensor) -> None:
        """Raise if labels are not valid class ids; reads the labels from the device."""
        if labels_B.dim() != 1 or labels_B.is_floating_point() or labels_B.is_complex() or labels_B.dtype == torch.bool:
            raise UserError(
                f'classes are whole numbers (B,), got {labels_B.dtype} of shape {tuple(labels_B.shape)}; '
                'give one class for each image.'
            )
        labels_B = labels_B.long()  # the number of classes may lie beyond a narrow type
        if labels_B.numel() and (labels_B.min() < 0 or labels_B.max() >= self.num_classes):
            wrong = labels_B[(labels_B < 0) | (labels_B >= self.num_classes)][0].item()
            raise UserError(f'class {wrong} is out of range; this model has classes 0 to {self.num_classes - 1}.')

    def null(self, labels_B: Tensor) -> Tensor:
        """No class, for as many."""
        return torch.full_like(labels_B, self.num_classes, dtype=torch.int64)

    def drop(self, labels_B: Tensor) -> Tensor:
        """Labels with a random share replaced by none."""
        dropped_B = torch.rand(labels_B.shape[0], device=labels_B.device) < self.drop_rate
        return torch.where(dropped_B, self.num_classes, labels_B)


class Unconditional(Classes):
    """Images of one kind: labels are taken, since every data set has some, and not looked at."""

    def __init__(self) -> None:
        super().__init__(1)

    def check(self, labels_B: Tensor) -> None:
        super().check(labels_B.clamp(0, 0) if labels_B.dtype != torch.bool else labels_B)


class ClassEmbedding(Classes):
    """A table of classes; if classes are dropped in training, class `num_classes` stands for none.

    Args:
        num_classes, dropout: See `Classes`.
        dim: Channels D.
    """

    def __init__(self, num_classes: int, dim: int, dropout: float = 0.1) -> None:
        super().__init__(num_classes, dropout)
        self.table = nn.Embedding(num_classes + (dropout > 0), dim)

    def forward(self, labels_B: Tensor) -> Tensor:
        """(B,) to (B, 1, D)."""
        labels_B = labels_B.long()
        if self.training and self.drop_rate > 0:
            labels_B = self.drop(labels_B)
        return self.table(labels_B)[:, None]


class ConditionEmbedding(Classes):
    """A condition of several numbers, each a token: `num_classes` values of each.

    Args:
        num_classes: Values of a number.
        dim: Channels D.
        tokens: Numbers T of a condition; of 1, conditions are classes (B,), else (B, T).
    """

    def __init__(self, num_classes: int, dim: int, tokens: int = 1) -> None:
        super().__init__(num_classes)
        self.tokens = tokens
        self.table = nn.Embedding(num_classes, dim)

    def check(self, labels_B: Tensor) -> None:
        if self.tokens == 1:
            return super().check(labels_B)
        if labels_B.dim() != 2 or labels_B.shape[1] != self.tokens:
            raise UserError(f'conditions are whole numbers (B, {self.tokens}), got shape {tuple(labels_B.shape)}.')
        return super().check(labels_B.flatten())

    def forward(self, labels: Tensor) -> Tensor:
        """(B,) or (B, T) to (B, T, D)."""
        return self.table(labels.long().view(len(labels), self.tokens))
