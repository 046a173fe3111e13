"""Differentiable augmentation of what a discriminator sees (Zhao et al., 2020), in StyleGAN-T's form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from ...registry import LOSSES


@LOSSES.register_module()
class DiffAugment(nn.Module):
    """Shifts, changes colours of, and cuts a rectangle out of images (B, C, H, W) in [-1, 1]; gradients pass.

    Draws differ from image to image. Brightness moves by up to 0.5, saturation is multiplied by 0 to 2 and contrast by 0.5
    to 1.5; pixels from outside, and those cut out, are 0.

    Args:
        translation: Largest shift, as a part of the side; 0 for none.
        color: Whether colours are changed.
        cutout: Sides of the rectangle, as a part of the image's; 0 for none.
    """

    def __init__(self, translation: float = 0.125, color: bool = True, cutout: float = 0.2) -> None:
        super().__init__()
        if not (0 <= translation < 1 and 0 <= cutout <= 1):
            raise UserError(f'DiffAugment: translation and cutout are parts of a side, got {translation} and {cutout}.')
        self.translation, self.color, self.cutout = translation, color, cutout

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x = images_BCHW.float()
        draws_7B = torch.rand(7, len(x), device=x.device)
        if self.translation:
            x = shift(x, draws_7B[:2], self.translation)
        if self.color:
            x = recolor(x, *draws_7B[2:5, :, None, None, None])
        return cut(x, draws_7B[5:], self.cutout) if self.cutout else x

    def extra_repr(self) -> str:
        return f'translation={self.translation}, color={self.color}, cutout={self.cutout}'


def shift(x: Tensor, draws_2B: Tensor, part: float) -> Tensor:
    """Each image moved by whole pixels, with zeros from outside."""
    H, W = x.shape[-2:]
    (down, right), limits = draws_2B, (round(H * part), round(W * part))
    offsets = [(draw * (2 * limit + 1)).long() - limit for draw, limit in zip((down, right), limits, strict=True)]
    # A border of one zero, to which all coordinates outside are moved.
    rows, columns = (
        (torch.arange(side, device=x.device) + offset[:, None] + 1).clamp(0, side + 1)
        for side, offset in zip((H, W), offsets, strict=True)
    )
    images = torch.arange(len(x), device=x.device)[:, None, None]
    moved_BHWC = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None]]
    return moved_BHWC.permute(0, 3, 1, 2)


def recolor(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Each from a draw in [0, 1), (B, 1, 1, 1)."""
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    level = x.mean((1, 2, 3), keepdim=True)
    return (x - level) * (contrast + 0.5) + level


def cut(x: Tensor, draws_2B: Tensor, part: float) -> Tensor:
    """A rectangle of each image set to zero; its middle lies anywhere in the image."""
    inside = []
    for side, draw in zip(x.shape[-2:], draws_2B, strict=True):
        length = round(side * part)
        start = (draw * (side + 1 - length % 2)).long() - length // 2
        places = torch.arange(side, device=x.device)
        inside.append((places >= start[:, None]) & (places < start[:, None] + length))
    rows, columns = inside
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])
