"""The first of TiTok's two stages: predict the codes that a frozen tokenizer gives the same image (Yu et al., 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autoencoder import Autoencoder
from ..autoencoders import ProxyCodesHead
from ..codes import CodeLayout, Grid
from ..errors import UserError
from ..ops.full_precision import full_precision
from ..registry import LOSSES
from ..saving.weights import check_fit
from .reconstruction import PixelLoss


@LOSSES.register_module()
class ProxyCodesLoss(PixelLoss):
    """Mean cross-entropy, over positions, of a decoder's logits (`ProxyCodesHead` of stage 1) with a frozen tokenizer's codes.

    That tokenizer is kept out of the module tree, as perceptual networks are, and runs in float32. Its codebook and its
    decoder are copied into the head, whose reconstructions are then its own.

    Args:
        tokenizer: A saved tokenizer (folder, or repository on the hub) with one code a position and nothing between codes and
            decoder, such as MaskGIT's: `tools/convert.py maskgit-vq FILE FOLDER`, or train `configs/baselines/maskgit_1k.py`.
        weight: Weight of the term.
        random: In place of a tokenizer's codes, numbers that follow the brightness of a patch; for smoke runs.
    """

    # Where a task of this config trains nothing and needs no proxy.
    component_config: Mapping[str, Any] = dict(type='L2Loss')
    proxy: Autoencoder | None

    def __init__(self, tokenizer: str | None = None, weight: float = 1.0, random: bool = False) -> None:
        super().__init__(weight)
        if (tokenizer is None) != random:
            raise UserError('ProxyCodesLoss: set tokenizer to the folder of the tokenizer whose codes are predicted.')
        on_meta = torch.empty(0).device.type == 'meta'
        proxy = None if tokenizer is None or on_meta else Autoencoder.from_pretrained(tokenizer).fold()
        self.source = str(tokenizer)
        object.__setattr__(self, 'proxy', proxy and proxy.requires_grad_(False))  # out of the module tree

    def attach(self, autoencoder: Autoencoder) -> None:
        head = getattr(autoencoder.decoder, 'head', None)
        if not isinstance(head, ProxyCodesHead) or head.stage != 1:
            raise UserError(
                f'ProxyCodesLoss: {type(autoencoder.decoder).__name__} predicts no codes; give it '
                "head=dict(type='ProxyCodesHead', stage=1, ...)."
            )
        if self.proxy is None:
            return
        height, width = autoencoder.encoder.example_size
        layout = self.proxy.layout(height, width)
        wanted = CodeLayout(Grid(*cast(tuple[int, int], autoencoder.decoder.grid)), len(head.codebook))
        if layout != wanted or not isinstance(getattr(self.proxy, 'post_quant', None), nn.Identity):
            between = '' if layout != wanted else ', with a convolution between codes and decoder'
            raise UserError(
                f'ProxyCodesLoss: for images of {height}x{width} the tokenizer {self.source} has {layout}{between}; the '
                f'decoder predicts {wanted}.'
            )
        rows_KD = self.proxy.require_quantizer('ProxyCodesLoss').codebook()
        check_fit(head, head.state_dict() | {'codebook': rows_KD}, self.source)
        check_fit(head.decoder, self.proxy.decoder.state_dict(), self.source)
        head.codebook.data.copy_(rows_KD)
        head.decoder.load_state_dict(self.proxy.decoder.state_dict())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ProxyCodesLoss:
        if self.proxy is not None:
            self.proxy._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        logits_BKL = reconstruction.flatten(2).float()
        return self.weight * F.cross_entropy(logits_BKL, self.codes(images, reconstruction))

    @torch.no_grad()
    def codes(self, images_BCHW: Tensor, logits_BKHW: Tensor) -> Tensor:
        """The targets (B, L), in the order of the positions."""
        if self.proxy is not None:
            with full_precision(images_BCHW.device.type):
                return self.proxy.encode(images_BCHW).indices_BL
        brightness_BHW = F.adaptive_avg_pool2d(images_BCHW.mean(1), (logits_BKHW.shape[2], logits_BKHW.shape[3]))
        return ((brightness_BHW + 1) / 2 * (logits_BKHW.shape[1] - 1)).round().long().flatten(1)

    @staticmethod
    def smoke(cfg: dict[str, object]) -> dict[str, object]:
        return dict(tokenizer=None, random=True)
