"""Perceptual losses: distances between reconstruction and image in a frozen network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ..registry import LOSSES
from .perceptual import LPIPS, ConvNeXtLogits, FrozenNetwork, MissingWeightsError, WithFrozenNetwork


class FrozenNetworkLoss(WithFrozenNetwork):
    """The mean distance of a batch in a frozen network, times a weight.

    Args:
        weight: Weight of the term.
        network, random: See `WithFrozenNetwork`.
    """

    def __init__(self, weight: float, network: FrozenNetwork, random: bool) -> None:
        super().__init__(network, random)
        self.weight = weight

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        return self.weight * self.network(reconstruction, images).mean()

    def extra_repr(self) -> str:
        return f'{type(self.network).__name__} {self.network.extra_repr()}, weight={self.weight}'

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Random weights: a smoke run needs no download, and its numbers mean nothing anyway."""
        return dict(random=True, weights=None)


@LOSSES.register_module()
class PerceptualLoss(FrozenNetworkLoss):
    """Mean LPIPS distance of a batch, times a weight: 1.0 with `vgg` in VQGAN, LlamaGen and FVQ (the paper, table 6).

    Args:
        weight: Weight of the term.
        net: The network; see `LPIPS`, also for `weights`, `lin_weights`, `dropout` and `check_hash`.
        random: Random weights, for smoke runs and timings; logged as a warning.

    Attributes:
        network: The `LPIPS`, out of the module tree; see `WithFrozenNetwork`.

    Raises:
        MissingWeightsError: The trained weights are not on this machine and cannot be downloaded. Not on the meta device,
            where none are needed.
    """

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
        with remedy():
            network = LPIPS(net, weights, lin_weights, dropout=dropout, random=random, check_hash=check_hash)
        super().__init__(weight, network, random)


@LOSSES.register_module()
class ConvNeXtLoss(FrozenNetworkLoss):
    """Mean squared difference of ConvNeXt-S's class logits, times a weight: 0.1 in TiTok.

    Args:
        weight: Weight of the term.
        weights, check_hash, image_size: See `ConvNeXtLogits`.
        random: Random weights, for smoke runs and timings; logged as a warning.

    Raises:
        MissingWeightsError: See `PerceptualLoss`.
    """

    def __init__(
        self,
        weight: float = 0.1,
        weights: str | Path | None = None,
        random: bool = False,
        check_hash: bool = True,
        image_size: int = 224,
    ) -> None:
        with remedy():
            network = ConvNeXtLogits(weights, random, check_hash, image_size)
        super().__init__(weight, network, random)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Random weights and small images."""
        return dict(random=True, weights=None, image_size=32)


@contextmanager
def remedy() -> Iterator[None]:
    """Missing weights raised inside say how to train without them."""
    try:
        yield
    except MissingWeightsError as error:
        raise MissingWeightsError(f'{error} To train without it: model.perceptual_loss=None.') from error
