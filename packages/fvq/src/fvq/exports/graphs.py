"""What is exported: encoding and decoding as functions of one tensor, and the sizes that they take."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Codes, Grid, LatentLayout
from fvq_core.errors import UserError
from fvq_quantizers.frozen_latents import LatentTokenizer

M = TypeVar('M', bound=nn.Module)


@dataclass(frozen=True)
class Sizes:
    """The images that an export takes.

    Args:
        height, width: Of the example it is made with, in pixels; of all images if `fixed`.
        fixed: Whether only the batch may vary: learned positions, scales of one size, or as the user wished.
        layout: Of the example's codes or latent.
    """

    height: int
    width: int
    fixed: bool
    layout: CodeLayout | LatentLayout

    @classmethod
    def of(cls, autoencoder: Autoencoder, size: tuple[int, int] | None = None) -> Sizes:
        """Those that the autoencoder takes, or one size; raises a `UserError` if it cannot encode that."""
        height, width = size or autoencoder.encoder.example_size
        layout = autoencoder.layout(height, width)
        fixed = size is not None or not isinstance(layout.positions, Grid)
        if fixed or not takes_other_sizes(autoencoder, height, width):
            return cls(height, width, True, layout)
        # Small, as tracing runs it, and not square, so that no side is taken for the other.
        f = autoencoder.downsample_factor
        small = (f * unit(autoencoder, 3), f * unit(autoencoder, 4))
        return cls(*small, False, autoencoder.layout(*small))


def unit(autoencoder: Autoencoder, positions: int) -> int:
    """At least that many positions along a side, of a latent that the quantizer takes."""
    step = side_multiple(autoencoder) // autoencoder.downsample_factor
    return -(-positions // step) * step


def side_multiple(autoencoder: Autoencoder) -> int:
    """What the sides of images must be a multiple of: the factor, or more if the quantizer joins positions."""
    f, joined = autoencoder.downsample_factor, getattr(autoencoder.quantizer, 'joined', None)
    return f if joined is None else f * math.lcm(joined.rows, joined.columns)


def takes_other_sizes(autoencoder: Autoencoder, height: int, width: int) -> bool:
    """Whether images of more than one size can be encoded."""
    step = side_multiple(autoencoder)
    try:
        autoencoder.layout(height + step, width + 2 * step)
    except UserError:
        return False
    return True


def hull(module: M) -> M:
    """A copy without weights, which tells of the module what its class and settings tell, and its type."""
    dtype = next((parameter.dtype for parameter in module.parameters()), torch.float32)
    bare = copy.copy(module)
    bare._modules, bare._buffers = {}, {}
    bare._parameters = {'none': nn.Parameter(torch.zeros(1, dtype=dtype), requires_grad=False)}
    return bare


def with_hulls(autoencoder: Autoencoder, *names: str) -> Autoencoder:
    """A copy in which parts that a graph does not run have no weights, which it would carry otherwise."""
    bare = copy.copy(autoencoder)
    bare._modules = {
        name: hull(cast(nn.Module, part)) if name in names else part for name, part in autoencoder._modules.items()
    }
    return bare


class Encode(nn.Module):
    """Images (B, 3, H, W), float32 in [-1, 1], to codes int64 (B, h, w), with slots behind if a position has several.

    Codes of a sequence or a pyramid are (B, L). A variational autoencoder gives moments (B, 2D, h, w), mean and log variance.
    Another continuous one gives its latent.
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = with_hulls(autoencoder, 'decoder', 'post_quant')

    def forward(self, images: Tensor) -> Tensor:
        if self.autoencoder.quantizer is not None:
            return self.autoencoder.encode(images).unflatten()
        if self.autoencoder.variational:
            return self.autoencoder.posterior(images).moments()
        return self.autoencoder.encode_latent(images).float()


class Decode(nn.Module):
    """What `Encode` gave (of a variational autoencoder a latent) to images (B, 3, H, W), float32, nominally in [-1, 1]."""

    def __init__(self, autoencoder: Autoencoder, layout: CodeLayout | LatentLayout) -> None:
        super().__init__()
        # Latents of a frozen autoencoder are decoded by that one, which is in the encoder.
        unused = ('pre_quant',) if isinstance(autoencoder, LatentTokenizer) else ('encoder', 'pre_quant')
        self.autoencoder, self.example = with_hulls(autoencoder, *unused), layout

    def forward(self, given: Tensor) -> Tensor:
        if isinstance(self.example, LatentLayout):
            return self.autoencoder.decode_latent(given).float()
        positions, slots = self.example.positions, self.example.vocabularies
        if isinstance(positions, Grid):
            positions = Grid(*given.shape[1:3])
        codes: Any = Codes(given.flatten(1), CodeLayout(positions, slots))
        return self.autoencoder.decode(codes).float()
