"""Diffusion of images given smaller ones, made worse on purpose (Ho et al., 2022, "Cascaded diffusion models", section 4)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError

from .diffusion.gaussian_process import GaussianProcess
from .layers import TimeEmbedding
from .unet_diffusion import UNetDiffusion

# Standard deviations in pixels, of a kernel of 3 x 3, and the share of the images; not verified against the paper.
BLUR = (0.4, 0.6)
BLURRED = 0.5


def smaller(x_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Images whose pixels are means of squares."""
    return F.interpolate(x_BCHW, (height, width), mode='area')


def blur(x_BCHW: Tensor, std_B: Tensor) -> Tensor:
    """Images under a Gaussian kernel of 3 x 3 pixels, each with its own standard deviation; edges are repeated."""
    side_B = torch.exp(-0.5 / std_B.square())
    kernel_B3 = torch.stack([side_B, torch.ones_like(side_B), side_B], 1) / (1 + 2 * side_B)[:, None]
    B, C = x_BCHW.shape[:2]
    kernel = (kernel_B3[:, :, None] * kernel_B3[:, None]).repeat_interleave(C, 0)[:, None]
    padded = F.pad(x_BCHW, (1, 1, 1, 1), mode='replicate')
    return F.conv2d(padded.flatten(0, 1)[None], kernel, groups=B * C)[0].unflatten(0, (B, C))


class SuperResolution(UNetDiffusion):
    """A `UNetDiffusion` that also sees a smaller image, enlarged, beside the noisy one; a stage of a `Cascade`.

    The smaller image is noised as far as a random step of the process, which the network is told (non-truncated conditioning
    augmentation), or, in half of the cases, blurred. So it learns not to trust what the stage before drew.

    Args:
        layout: Of the large images.
        augmentation: `'noise'`, or `'blur'`, the paper's for large images.
        options: Those of `UNetDiffusion`; it is trained as a diffusion process.
    """

    images = 2

    def __init__(self, layout: Any, augmentation: Literal['noise', 'blur'] = 'noise', **options: Any) -> None:
        super().__init__(layout, **options)
        if augmentation not in ('noise', 'blur'):
            raise UserError(f"SuperResolution: augmentation is 'noise' or 'blur', got {augmentation!r}.")
        if self.process is None:
            raise UserError("SuperResolution: is trained as a diffusion process; use objective='diffusion'.")
        self.augmentation = augmentation
        self.level = TimeEmbedding(self.unet.cond_dim) if augmentation == 'noise' else None

    def network(self, x_BDHW: Tensor, t_B: Tensor, labels_B: Tensor, *given: Tensor) -> Tensor:
        """See `LatentDiffusion.network`; `given` are the smaller images (B, D, h, w), made worse, and how far (B,)."""
        small, level_B = given
        cond_B1D = self.condition(labels_B)
        if self.level is not None:
            cond_B1D = cond_B1D + self.level(level_B)[:, None]
        large = F.interpolate(small, x_BDHW.shape[2:], mode='bilinear', antialias=False)
        return self.unet(torch.cat([x_BDHW, large.type_as(x_BDHW)], 1), t_B, cond_B1D)

    def worse(self, small: Tensor) -> tuple[Tensor, Tensor]:
        """Smaller images as training shows them, and how far each has been noised."""
        B, device = len(small), small.device
        if self.augmentation == 'noise':
            assert isinstance(self.process, GaussianProcess)
            return self.noised(small, torch.randint(self.process.steps, (B,), device=device), torch.randn_like(small))
        std_B = BLUR[0] + (BLUR[1] - BLUR[0]) * torch.rand(B, device=device)
        chosen_B = torch.rand(B, device=device) < BLURRED
        return torch.where(chosen_B.view(-1, 1, 1, 1), blur(small, std_B), small), torch.zeros_like(std_B)

    def noised(self, small: Tensor, level_B: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Smaller images after these steps of the process, and those steps."""
        assert isinstance(self.process, GaussianProcess)
        return self.process.noisy(small, level_B, noise), level_B
