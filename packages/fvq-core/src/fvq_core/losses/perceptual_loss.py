"""The perceptual loss: LPIPS between reconstruction and image."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from ..registry import LOSSES
from .perceptual import LPIPS, MissingWeightsError, find_backbone


@LOSSES.register_module()
class PerceptualLoss(nn.Module):
    """Mean LPIPS distance of a batch, times a weight: 1.0 with `vgg` in VQGAN, LlamaGen and FVQ (the paper, table 6).

    The frozen network stands beside the module tree: it is in no state dict, no moving average, no DDP handle and no
    optimizer, but follows the module to another device, type or memory order.

    Args:
        weight: Of the term.
        net: See `LPIPS`, as for the rest.
        weights: The trained network's file.
        lin_weights: The channel weights' file.
        dropout: As released loops do, with LPIPS's dropout on in train mode.
        random: Random weights, for smoke runs and timings; said in the log.
        check_hash: Refuse a file that is not the published one.

    Attributes:
        network: The `LPIPS`.

    Raises:
        MissingWeightsError: The trained weights are neither here nor can they be downloaded. Not on the meta device, where
            none are needed; `preflight` asks for them before a run begins.
    """

    network: LPIPS

    def __init__(
        self,
        weight: float = 1.0,
        net: str = 'vgg',
        weights: str | Path | None = None,
        lin_weights: str | Path | None = None,
        dropout: bool = False,
        random: bool = False,
        check_hash: bool = True,
    ) -> None:
        super().__init__()
        self.weight = weight
        network = LPIPS(net, weights, lin_weights, dropout=dropout, random=random, check_hash=check_hash)
        object.__setattr__(self, 'network', network.train(self.training))  # out of the module tree
        if random and not network.shift_1C11.is_meta:
            print_log(f'PerceptualLoss: {network.provenance}', logger='current', level=logging.WARNING)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PerceptualLoss:
        self.network._apply(fn, recurse)  # what `to`, `cuda`, `half` and the like go through
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True) -> PerceptualLoss:
        self.network.train(mode)
        return super().train(mode)

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        return self.weight * self.network(reconstruction, images).mean()

    def extra_repr(self) -> str:
        return f'LPIPS {self.network.extra_repr()}, weight={self.weight}'

    @staticmethod
    def preflight(cfg: dict[str, Any]) -> None:
        """Fetch the trained weights, or say how to do without, before anything else of a run."""
        if cfg.get('random', False):
            return
        try:
            find_backbone(cfg.get('net', 'vgg'), cfg.get('weights'))
        except MissingWeightsError as error:
            raise MissingWeightsError(f'{error} To train without it: model.perceptual_loss=None.') from error

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Random weights: a smoke run needs no download, and its numbers mean nothing anyway."""
        return dict(random=True, weights=None)
