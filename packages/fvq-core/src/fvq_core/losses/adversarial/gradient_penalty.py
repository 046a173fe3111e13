"""R1: a penalty on the discriminator's gradient at real images (Mescheder et al., 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import UserError
from ...registry import LOSSES
from ..discriminators.local_batch_norm import LocalBatchNorm


@LOSSES.register_module()
class R1Penalty(nn.Module):
    """weight * mean over images of |d D(x) / d x|^2, where D(x) is the sum of an image's logits.

    The GAN loss uses the logits of the same forward pass. If the penalty is due, that pass is in float32 without autocast,
    and not compiled: the compiler has no second derivatives.

    Args:
        weight: 10 in MaskGIT. The usual gamma / 2: StyleGAN2's gamma 10 is 5 here.
        every: Compute it only on every n-th call, times n; 16 in StyleGAN2. Each micro-batch is a call.

    Attributes:
        calls: Number of calls so far, so that a resumed run continues in step.
    """

    calls: Tensor

    def __init__(self, weight: float = 10.0, every: int = 1) -> None:
        super().__init__()
        if every < 1:
            raise UserError(f'R1Penalty: every must be 1 or more, got {every}; 1 is every call.')
        self.weight, self.every = weight, every
        self.register_buffer('calls', torch.zeros((), dtype=torch.int64))
        self._calls: int | None = None  # a copy of `calls` that needs no wait for the device

    def forward(self, discriminator: nn.Module, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of real images, and the weighted penalty: a scalar, 0 if it is not due."""
        if not self.due():
            logits = discriminator(images_BCHW)
            return logits, logits.new_zeros((), dtype=torch.float32)
        images = images_BCHW.detach().float().requires_grad_()
        with torch.compiler.set_stance('force_eager'), torch.autocast(images.device.type, enabled=False):
            logits = discriminator(images)
            (gradient_BCHW,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return logits, self.weight * self.every * gradient_BCHW.square().flatten(1).sum(1).mean()

    def due(self) -> bool:
        """Whether this call computes the penalty; counts the call."""
        if self._calls is None:
            self._calls = int(self.calls)
        due = self._calls % self.every == 0
        self._calls += 1
        self.calls += 1
        return due

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._calls = None
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        return f'weight={self.weight}, every={self.every}'


def check_no_batch_norm(discriminator: nn.Module) -> None:
    """Raise if a discriminator has BatchNorm.

    Logits would depend on the other images of the batch, and R1 would not be a gradient of D(x).
    """
    if any(isinstance(module, _BatchNorm | LocalBatchNorm) for module in discriminator.modules()):
        raise UserError(
            f"R1Penalty: {type(discriminator).__name__} has BatchNorm, so an image's logits depend on the whole batch; "
            "use norm='none', 'spectral' or 'group', StyleGANDiscriminator, or drop r1."
        )
