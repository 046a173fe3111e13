"""Originals above their reconstructions."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import make_grid

from fvq_core.images import to_uint8

SMALLEST_SIDE = 128  # pixels; smaller images are enlarged by a whole factor


def save_reconstruction_grid(images: Tensor, reconstructions: Tensor, path: Path, per_row: int = 5) -> None:
    """Write pairs of images (B, 3, H, W) in [-1, 1]: below each row of originals are its reconstructions."""
    scale = max(1, SMALLEST_SIDE // images.shape[-1])
    rows = []
    for start in range(0, len(images), per_row):
        for part in (images, reconstructions):
            pixels = interpolate(to_uint8(part[start : start + per_row]).float(), scale_factor=scale, mode='nearest')
            rows.append(make_grid(pixels.byte(), nrow=per_row, padding=4, pad_value=255))
    width = max(row.shape[-1] for row in rows)
    canvas = Image.new('RGB', (width, sum(row.shape[-2] for row in rows)), 'white')
    top = 0
    for row in rows:
        canvas.paste(Image.fromarray(row.permute(1, 2, 0).numpy()), (0, top))
        top += row.shape[-2]
    canvas.save(path)
