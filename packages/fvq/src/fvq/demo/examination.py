"""What an autoencoder makes of one image: its reconstruction, its codes and how good it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Codes
from fvq_core.images import from_uint8, to_uint8
from fvq_eval.metrics import PSNR, SSIM


@dataclass(frozen=True, eq=False)
class Examination:
    """One image through one autoencoder; everything is on the CPU.

    Args:
        pixels: The image as it was encoded, uint8 (H, W, 3).
        reconstruction: uint8 (H, W, 3).
        codes: Its codes, of one image; None of a continuous autoencoder.
        psnr: In dB; infinite if nothing was lost.
        ssim: None if the image is smaller than its window.
    """

    pixels: np.ndarray
    reconstruction: np.ndarray
    codes: Codes | None
    psnr: float
    ssim: float | None

    @property
    def bits_per_pixel(self) -> float | None:
        """Bits of the codes, each at log2 of its vocabulary, for a pixel; None without codes."""
        if self.codes is None:
            return None
        layout = self.codes.layout
        bits = layout.positions.length * sum(math.log2(size) for size in layout.vocabularies)
        return bits / (self.pixels.shape[0] * self.pixels.shape[1])

    def scores(self) -> str:
        """PSNR, SSIM, and what the codes cost, in one line."""
        parts = [f'PSNR {self.psnr:.1f} dB']
        parts += [] if self.ssim is None else [f'SSIM {self.ssim:.3f}']
        if self.codes is not None:
            length, used = self.codes.layout.length, len(np.unique(self.codes.indices_BL.numpy()))
            parts.append(f'{length:,} codes, {used:,} different')
            parts.append(f'{self.bits_per_pixel:.2f} bits per pixel')
        return ' · '.join(parts)


@torch.inference_mode()
def examine(autoencoder: Autoencoder, pixels: np.ndarray) -> Examination:
    """Encode and decode an image of a size that the autoencoder takes, uint8 (H, W, 3)."""
    images = from_uint8(pixels_tensor(pixels)).to(next(autoencoder.parameters()).device)
    output = autoencoder(images)
    reconstruction = array(output.reconstruction)
    smallest = SSIM().smallest
    metrics = [PSNR(), *([SSIM()] if min(pixels.shape[:2]) >= smallest else [])]
    values: dict[str, float] = {}
    for metric in metrics:
        metric.reset(autoencoder)
        metric.update(images, output, autoencoder)
        values |= {key: value.value for key, value in metric.compute().items()}
    codes = None if output.codes is None else Codes(output.codes.indices_BL.cpu(), output.codes.layout)
    return Examination(pixels, reconstruction, codes, values['psnr'], values.get('ssim'))


@torch.inference_mode()
def decode(autoencoder: Autoencoder, indices_L: np.ndarray, layout: CodeLayout) -> np.ndarray:
    """The image of some codes, uint8 (H, W, 3)."""
    indices_BL = torch.from_numpy(indices_L)[None].to(next(autoencoder.parameters()).device)
    layout.check(indices_BL)
    return array(autoencoder.decode(Codes(indices_BL, layout)))


def pixels_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) to uint8 (1, 3, H, W)."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]


def array(images: Tensor) -> np.ndarray:
    """The first of float images in [-1, 1] as uint8 (H, W, 3); raises if a pixel is NaN."""
    return to_uint8(images[:1].cpu())[0].permute(1, 2, 0).contiguous().numpy()


def difference(one: np.ndarray, other: np.ndarray, gain: float = 4.0) -> np.ndarray:
    """How much two images differ, |one - other| times `gain`, uint8; black where they are the same."""
    return np.clip(np.abs(one.astype(np.float32) - other) * gain, 0, 255).round().astype(np.uint8)
