"""An optimizer wrapper that remembers the gradient norm without waiting for the device."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor

from ..registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class ClippedOptimWrapper(OptimWrapper):
    """Clips the joint gradient norm before each step and keeps it.

    Args:
        optimizer: The optimizer.
        max_norm: Largest joint norm; 1.0 in LlamaGen and FVQ. None only measures.

    Attributes:
        grad_norm: Norm before clipping of the last step, a tensor on the device.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, max_norm: float | None = 1.0) -> None:
        super().__init__(optimizer)
        self.max_norm = max_norm
        self.grad_norm: Tensor | None = None

    def step(self, **kwargs: Any) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        self.grad_norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        if self.max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.max_norm, self.grad_norm)
        self.optimizer.step(**kwargs)
