"""What saving and reading a JPEG does to pixels, in memory."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fvq_core.errors import UserError


def jpeg(pixels_BCHW: Tensor) -> Tensor:
    """Pixels as PIL reads them back from a JPEG that it wrote without options: quality 75, chroma halved.

    Args:
        pixels_BCHW: uint8, (B, 3, H, W), on any device.

    Raises:
        UserError: Other pixels than RGB of 8 bits.
    """
    if pixels_BCHW.dtype != torch.uint8 or pixels_BCHW.shape[1] != 3:
        raise UserError(f'jpeg: expected uint8 (B, 3, H, W), got {pixels_BCHW.dtype} {tuple(pixels_BCHW.shape)}.')
    images_BHWC = pixels_BCHW.permute(0, 2, 3, 1).cpu().numpy()
    coded = np.stack([through_jpeg(image) for image in images_BHWC]) if len(images_BHWC) else images_BHWC
    return torch.from_numpy(coded).permute(0, 3, 1, 2).contiguous().to(pixels_BCHW.device)


def through_jpeg(image_HWC: np.ndarray) -> np.ndarray:
    """One image, uint8 (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, 'JPEG')
    with Image.open(file) as coded:
        return np.asarray(coded.convert('RGB'))
