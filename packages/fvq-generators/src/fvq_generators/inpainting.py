"""Which codes of an image are kept, from the part of its pixels that is."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Codes, Grid, LatentLayout, Latents, Pyramid
from fvq_core.errors import UserError

# Parts of an image by name: of pixel centres y and x in (0, 1), whether they are kept.
PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'top': lambda y, x: y < 0.5,
    'bottom': lambda y, x: y > 0.5,
    'left': lambda y, x: x < 0.5,
    'right': lambda y, x: x > 0.5,
    'center': lambda y, x: torch.maximum((y - 0.5).abs(), (x - 0.5).abs()) < 0.25,
    'border': lambda y, x: torch.maximum((y - 0.5).abs(), (x - 0.5).abs()) > 0.25,
}


def part_of_image(name: str, height: int, width: int) -> Tensor:
    """A part of `PARTS` as bool (height, width)."""
    y_H1, x_1W = ((torch.arange(side) + 0.5) / side for side in (height, width))
    return PARTS[name](y_H1[:, None].expand(height, width), x_1W[None].expand(height, width))


def kept_codes(keep_HW: Tensor, layout: CodeLayout | LatentLayout) -> Tensor:
    """Which codes, or positions of latents, of an image are kept: bool (L,).

    A code of the finest grid is kept if all its pixels are; one of a coarser scale if more than half of its area is made of
    such.

    Args:
        keep_HW: bool, True for pixels that are kept; its sides are multiples of the grid's.
        layout: Their layout.

    Raises:
        UserError: Codes that have no place on the image.
    """
    positions = layout.positions
    if not isinstance(positions, Grid | Pyramid):
        raise UserError(f'keep: the codes of {layout} have no place on the image, so that no part of it can be kept.')
    scales = positions.scales if isinstance(positions, Pyramid) else ((positions.height, positions.width),)
    finest = -F.adaptive_max_pool2d(-keep_HW[None, None].float(), scales[-1])
    kept = [finest] + [(F.adaptive_avg_pool2d(finest, scale) > 0.5).float() for scale in reversed(scales[:-1])]
    keep_L = torch.cat([scale.flatten() for scale in reversed(kept)]) > 0.5
    return keep_L.repeat_interleave(layout.slots if isinstance(layout, CodeLayout) else 1)


def first_scales(count: int, layout: CodeLayout | LatentLayout) -> Tensor:
    """The codes of the first scales of a pyramid: bool (L,).

    Raises:
        UserError: Codes without scales, or not so many.
    """
    positions = layout.positions
    if not isinstance(positions, Pyramid) or not isinstance(layout, CodeLayout):
        raise UserError(f'keep: the codes of {layout} have no scales; name a part of the image.')
    if not 1 <= count <= len(positions.scales):
        raise UserError(f'keep: scales:N takes 1 to {len(positions.scales)} scales of these codes, got {count}.')
    first = sum(positions.lengths[:count]) * layout.slots
    return torch.arange(layout.length) < first


def given_of(images_BCHW: Tensor, autoencoder: Autoencoder, layout: CodeLayout | LatentLayout) -> Codes | Latents:
    """What a generator of this layout can keep of images: codes, or latents, which are the mean of a posterior."""
    if isinstance(layout, CodeLayout):
        return autoencoder.encode(images_BCHW)
    return Latents(autoencoder.encode_latent(images_BCHW), layout)


def to_device(given: Codes | Latents, device: torch.device) -> Codes | Latents:
    """Codes or latents on a device."""
    if isinstance(given, Codes):
        return Codes(given.indices_BL.to(device), given.layout)
    return Latents(given.values.to(device), given.layout)
