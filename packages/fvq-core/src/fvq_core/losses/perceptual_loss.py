"""The perceptual loss: LPIPS between reconstruction and image."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..registry import LOSSES
from .perceptual import LPIPS, MissingWeightsError


@LOSSES.register_module()
class PerceptualLoss(nn.Module):
    """Mean LPIPS distance of a batch, times a weight: 1.0 with `vgg` in VQGAN, LlamaGen and FVQ (the paper, table 6).

    The frozen network is kept out of the module tree: it is in no state dict, moving average, DDP module or optimizer, but
    follows the module to another device, type or memory order.

    Args:
        weight: Weight of the term.
        net: The network; see `LPIPS`, also for `weights`, `lin_weights`, `dropout` and `check_hash`.
        random: Random weights, for smoke runs and timings; logged as a warning.

    Attributes:
        network: The `LPIPS`.

    Raises:
        MissingWeightsError: The trained weights are not on this machine and cannot be downloaded. Not on the meta device,
            where none are needed.
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
        try:
            network = LPIPS(net, weights, lin_weights, dropout=dropout, random=random, check_hash=check_hash)
        except MissingWeightsError as error:
            raise MissingWeightsError(f'{error} To train without it: model.perceptual_loss=None.') from error
        object.__setattr__(self, 'network', network.train(self.training))  # out of the module tree
        if random and not network.shift_1C11.is_meta:
            logging.getLogger('fvq').warning(f'PerceptualLoss: {network.provenance}')

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
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Random weights: a smoke run needs no download, and its numbers mean nothing anyway."""
        return dict(random=True, weights=None)
