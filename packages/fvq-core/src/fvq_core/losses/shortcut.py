"""A shortcut at the start of training, around the transformers between convolutions (GigaTok, Xiong et al., 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autoencoder import Autoencoder
from ..errors import UserError, nearest_hint
from ..registry import LOSSES
from .reconstruction import PixelLoss


@LOSSES.register_module()
class ShortcutLoss(PixelLoss):
    """A pixel loss, and in the first `calls` also of images without what lies between two modules, and between features.

    The features x that `start` gives go to `end` as they are, and its images are compared too, by `loss` and `perceptual`;
    and the features that `end` is given otherwise are drawn to x, by their mean squared difference, without a gradient
    to x. The release advises against it for new runs; its largest model did without.

    Args:
        loss: Config of a pixel loss of `LOSSES`; `L2Loss` by default.
        perceptual: Config of a perceptual loss of `LOSSES` for the images of the shortcut.
        calls: How often there is a shortcut, once for each micro-batch. 14,999 in GigaTok.
        start, end: Modules of the tokenizer by their dotted names: what `start` gives, `end` takes.
        feature_weight: Weight of the features' difference.
        weight: Weight of it all.

    Raises:
        UserError: A module that there is not, or features of one that the other does not take.
    """

    component_config: Mapping[str, Any] = dict(type='L2Loss')  # where a task of this config trains nothing
    called: Tensor

    def __init__(
        self,
        loss: Mapping[str, Any] | None = None,
        perceptual: Mapping[str, Any] | None = None,
        calls: int = 14999,
        start: str = 'encoder.cnn',
        end: str = 'decoder.cnn',
        feature_weight: float = 1.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        self.loss: nn.Module = LOSSES.build(loss or dict(type='L2Loss'))
        self.perceptual: nn.Module | None = LOSSES.build(perceptual) if perceptual else None
        self.calls, self.start, self.end, self.feature_weight = calls, start, end, feature_weight
        self.register_buffer('called', torch.zeros((), dtype=torch.int64))
        self.over, self.inside = False, False  # `over` spares a look at the device in each call
        self.seen: dict[str, Tensor] = {}  # of the last training pass: what `start` gave, and what `end` was given
        self.ending: list[nn.Module] = []  # `end`, out of the module tree

    def attach(self, autoencoder: Autoencoder) -> None:
        modules = dict(autoencoder.named_modules())
        for name in (self.start, self.end):
            if name not in modules:
                hint = nearest_hint(name, modules)
                raise UserError(f"ShortcutLoss: {type(autoencoder).__name__} has no module '{name}'; {hint}")

        def after_start(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if self.listens(module):
                self.seen['start'] = output

        def before_end(module: nn.Module, inputs: Any) -> None:
            if self.listens(module):
                self.seen['end'] = inputs[0]

        modules[self.start].register_forward_hook(after_start)
        modules[self.end].register_forward_pre_hook(before_end)
        self.ending[:] = [modules[self.end]]

    def listens(self, module: nn.Module) -> bool:
        return module.training and not self.over and not self.inside

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        total = self.loss(reconstruction, images)
        self.over = self.over or int(self.called) >= self.calls
        features, self.seen = self.seen, {}
        if self.over or not features:
            return self.weight * total
        self.called += 1
        start, end = features['start'], features['end']
        if start.shape != end.shape:
            raise UserError(
                f'ShortcutLoss: {self.start} gives features {tuple(start.shape)}, {self.end} takes {tuple(end.shape)}; give '
                'both the same z_channels.'
            )
        self.inside = True
        try:
            shortcut = self.ending[0](start).float()
        finally:
            self.inside = False
        total = total + self.loss(shortcut, images) + self.feature_weight * F.mse_loss(end, start.detach())
        if self.perceptual is not None:
            total = total + self.perceptual(shortcut, images)
        return self.weight * total

    def extra_repr(self) -> str:
        return f'{self.start} to {self.end} in the first {self.calls} calls, weight={self.weight}'

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Over after the second call, so that a smoke run trains with and without it."""
        return dict(calls=min(cfg.get('calls', 2), 2))
