"""An optimizer wrapper that leaves out steps of exploding gradients (RandAR)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from fvq_core.errors import UserError
from fvq_core.registry import OPTIM_WRAPPERS
from fvq_core.training import ClippedOptimWrapper


@OPTIM_WRAPPERS.register_module()
class SkippingOptimWrapper(ClippedOptimWrapper):
    """A `ClippedOptimWrapper` that leaves out a step if the norms of the parameters' gradients sum up to too much.

    It reads one number from the device at each step. Weights that are split over processes (FSDP2) count whole.

    Args:
        optimizer, max_norm, precision: See `ClippedOptimWrapper`.
        skip_above: Largest sum, over the parameters, of the norm of each one's gradient before clipping.

    Attributes:
        skipped: Steps that were left out since the run began or was resumed.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_norm: float | None = 1.0,
        precision: Literal['float32', 'bfloat16', 'float16'] = 'float32',
        skip_above: float = 10.0,
    ) -> None:
        super().__init__(optimizer, max_norm, precision)
        if not skip_above > 0:
            raise UserError(f'SkippingOptimWrapper: skip_above must be above 0, got {skip_above}.')
        self.skip_above, self.skipped = skip_above, 0

    def step(self, **kwargs: Any) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        scale = self.scaler.get_scale()
        total = torch.stack([gradient_norm(p.grad) for p in parameters]).sum() / scale
        if total > self.skip_above and total.isfinite():  # what is not finite is the loop's to report
            self.grad_norm = torch.nn.utils.get_total_norm([p.grad for p in parameters]) / scale
            self.skipped += 1
        else:
            super().step(**kwargs)


def gradient_norm(gradient: Tensor) -> Tensor:
    """The norm of one gradient, of all its parts if it is split over processes."""
    norm = torch.linalg.vector_norm(gradient)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
