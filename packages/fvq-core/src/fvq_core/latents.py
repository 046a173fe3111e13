"""Continuous latents of images, and how they are arranged: what codes are to tokenizers, these are to other autoencoders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import UserError
from .positions import Grid, Positions, Sequence, check_size


def check_scale(owner: str, scale: Any, shift: Any) -> None:
    """Raise unless these can be a `LatentLayout`'s; `owner` begins the message."""
    for name, value in (('scale', scale), ('shift', shift)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f'{owner}: {name} is a finite number, got {value!r}.')
    if not scale:
        raise UserError(f'{owner}: scale is 0, which would erase the latents; use 1 for none.')


@dataclass(frozen=True)
class LatentLayout:
    """How the continuous latent of one image is arranged.

    Args:
        positions: A `Grid` or a `Sequence`; the encoder chooses.
        channels: D, from 1 on.
        scale, shift: The autoencoder's, finite and the scale not 0: a generator sees scale (values - shift), of about unit
            variance.
    """

    positions: Positions
    channels: int
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.positions, Grid | Sequence):
            raise UserError(f'LatentLayout: expected a Grid or a Sequence, got {self.positions!r}.')
        check_size('LatentLayout', self.channels)
        check_scale('LatentLayout', self.scale, self.shift)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's latent, (D, H, W) or (D, L)."""
        return (self.channels, *self.positions.shape)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description; `layout_from_dict` reads it."""
        return {**self.positions.to_dict(), 'channels': self.channels, 'scale': self.scale, 'shift': self.shift}

    def check(self, values: Tensor) -> None:
        """Raise if these are not latents of this layout."""
        if not isinstance(values, Tensor) or not values.is_floating_point() or tuple(values.shape[1:]) != self.shape:
            given = f'{values.dtype} {tuple(values.shape)}' if isinstance(values, Tensor) else type(values).__name__
            raise UserError(f'Latents: expected a float tensor (B, {", ".join(map(str, self.shape))}), got {given}.')

    def normalize(self, values: Tensor) -> Tensor:
        """What a generator models, scale (values - shift)."""
        return (values - self.shift) * self.scale

    def denormalize(self, values: Tensor) -> Tensor:
        """The inverse of `normalize`: from what a generator drew to what the autoencoder decodes."""
        return values / self.scale + self.shift


@dataclass(frozen=True, eq=False)
class Latents:
    """Continuous latents of a batch of images, as the autoencoder decodes them.

    Args:
        values: (B, D, H, W) of a grid or (B, D, L) of a sequence, float.
        layout: How the latent of an image is arranged, with the autoencoder's scale and shift.
    """

    values: Tensor
    layout: LatentLayout

    def __post_init__(self) -> None:
        if not isinstance(self.layout, LatentLayout):
            raise UserError(f'Latents: expected a LatentLayout, got {type(self.layout).__name__}.')
        self.layout.check(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Latents) and self.layout == other.layout and torch.equal(self.values, other.values)

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, images: slice) -> Latents:
        return Latents(self.values[images], self.layout)

    def normalized(self) -> Tensor:
        """What a generator models; see `LatentLayout.normalize`."""
        return self.layout.normalize(self.values)
