"""PatchGAN, the discriminator of pix2pix (Isola et al., 2017) in the form of VQGAN, LlamaGen and FVQ."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ...errors import UserError, nearest_hint
from ...registry import DISCRIMINATORS
from .act_norm import ActNorm

NORMS = ('batch', 'act', 'spectral', 'none')
WIDEST = 8  # channels stop growing at this multiple of `ch`


@DISCRIMINATORS.register_module()
class PatchGAN(nn.Module):
    """4 x 4 convolutions with a logit for each of many overlapping patches: (B, in_channels, H, W) to (B, 1, h, w).

    `layers` convolutions (at least one) halve the resolution, two more keep it: with 3 layers h = H / 8 - 2, and a logit
    sees 70 x 70 pixels. Weights start from N(0, 0.02), those of BatchNorm from N(1, 0.02). State-dict keys are those of
    pix2pix, hence of every peer.

    Args:
        ch: Channels after the first convolution; they double up to 8 times that.
        layers: Convolutions that halve the resolution. 3 in VQGAN, LlamaGen and FVQ, 2 in VQGAN-SD and RQ-VAE.
        norm: After every convolution but the first and the last: `'batch'`, over this rank's images only; or `'act'`, the
            ActNorm of VQGAN's `use_actnorm`. Without such layers: `'none'`, where two ranks equal one process with twice
            the batch; or `'spectral'`, which divides every convolution's weight by its largest singular value (Miyato et
            al., 2018).
    """

    def __init__(
        self,
        in_channels: int = 3,
        ch: int = 64,
        layers: int = 3,
        norm: Literal['batch', 'act', 'spectral', 'none'] = 'batch',
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise UserError(f"PatchGAN: unknown norm '{norm}'; {nearest_hint(norm, NORMS)}")
        if layers < 0:
            raise UserError(f'PatchGAN: layers must be 0 or more, got {layers}; the published value is 3.')
        channels = [ch * min(2**layer, WIDEST) for layer in range(layers + 1)]
        main: list[nn.Module] = [nn.Conv2d(in_channels, ch, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for layer in range(1, layers):
            main += normed_convolution(channels[layer - 1], channels[layer], 2, norm)
        main += normed_convolution(channels[max(layers - 1, 0)], channels[layers], 1, norm)
        main.append(nn.Conv2d(channels[-1], 1, 4, padding=1))
        self.main = nn.Sequential(*main).apply(initialize)
        if norm == 'spectral':
            for module in [module for module in main if isinstance(module, nn.Conv2d)]:
                spectral_norm(module)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.main(images_BCHW)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """8 channels; the depth stays."""
        return dict(ch=8)


def normed_convolution(in_channels: int, out_channels: int, stride: int, norm: str) -> list[nn.Module]:
    """Convolution, norm if it is a layer, LeakyReLU; BatchNorm has its own bias, so the convolution before it has none."""
    conv = nn.Conv2d(in_channels, out_channels, 4, stride=stride, padding=1, bias=norm != 'batch')
    norms = dict(batch=nn.BatchNorm2d, act=ActNorm)
    normalization = [norms[norm](out_channels)] if norm in norms else []
    return [conv, *normalization, nn.LeakyReLU(0.2, inplace=True)]


def initialize(module: nn.Module) -> None:
    """pix2pix's initial weights; biases of convolutions keep torch's."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
