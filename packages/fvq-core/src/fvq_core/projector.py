"""The contract that every projector keeps."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .errors import UserError


class Projector(nn.Module):
    """Maps the raw codebook (K, source_dim) to the codebook (K, D) that latents are compared with.

    It is trained with the quantizer and costs nothing at inference: `Quantizer.fold` replaces raw codebook and projector
    by the mapped codebook. A subclass defines `forward`; everything else has a default that fits a plain map.

    Args:
        codebook_size: K.
        code_dim: D.
        source_dim: Channels of the raw codebook; D by default.

    Attributes:
        is_identity: Whether `forward` returns its argument. There is then nothing to fold, and updates and inits may
            write latents into the raw codebook.
        observes_latents: Whether the map depends on the latents that `observe` was given.
        num_classes: Number of classes of a projector that maps the codebook once per class; None otherwise.
            Only with classes does training pass labels to `forward`.
    """

    is_identity: bool = False
    observes_latents: bool = False
    num_classes: int | None = None

    def __init__(self, codebook_size: int, code_dim: int, source_dim: int | None = None) -> None:
        super().__init__()
        self.codebook_size, self.code_dim = codebook_size, code_dim
        self.source_dim = code_dim if source_dim is None else source_dim

    def forward(self, codebook_KD: Tensor) -> Tensor:
        """Raw codes (K, source_dim) to mapped codes (K, D).

        A projector with classes also accepts `labels_B`, int64, and then returns one codebook per label, (B, K, D).
        """
        raise NotImplementedError

    def observe(self, z_ND: Tensor, codebook_KD: Tensor) -> None:
        """Called with this rank's latents and the raw codebook before a training batch is mapped; nothing by default."""

    def check_labels(self, labels_B: Tensor, batch: int) -> None:
        """Raise if labels are not what training passes to a projector with classes: one int64 label per image."""
        name, given = type(self).__name__, f'{tuple(labels_B.shape)} {labels_B.dtype}'
        if self.num_classes is None:
            raise UserError(f'{name} has no classes and takes no labels, got {given}; drop labels_B.')
        if not self.training:
            raise UserError(
                f'{name}: labels choose a codebook only in training; in eval all images have the one that fold() keeps. '
                f'Drop labels_B, or fold(label); got {given}.'
            )
        if labels_B.shape != (batch,) or labels_B.dtype != torch.int64:
            raise UserError(f'{name}: expected int64 labels ({batch},), one per image, got {given}.')

    def label_to_fold(self, label: int | None) -> int | None:
        """The class whose codebook `fold(label)` keeps; None without classes.

        Raises:
            UserError: A label without classes. A projector with classes overrides this and raises if it has no label.
        """
        if label is not None:
            raise UserError(f'{type(self).__name__} has no classes, so fold() takes no label, got {label}; drop it.')
        return None

    def fuse_attention(self, fused: bool) -> None:
        """Choose between fused attention and plain matrix products, which a FLOP counter can see; nothing by default."""


def find_projectors(module: nn.Module) -> Iterator[Projector]:
    """The projectors in a module, such as a quantizer; not those inside another projector."""
    for child in module.children():
        if isinstance(child, Projector):
            yield child
        else:
            yield from find_projectors(child)
