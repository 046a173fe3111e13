"""ActNorm: a channel-wise affine map, initialized from the statistics of its first batch (Kingma & Dhariwal, 2018)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...ops.ranks import average_over_ranks


class ActNorm(nn.Module):
    """scale * (x + loc) over (B, C, H, W).

    The first batch in train mode sets both so that its output has mean 0 and standard deviation 1 in each channel, over
    all ranks; afterwards they are ordinary parameters.
    """

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer('initialized', torch.tensor(0, dtype=torch.uint8))
        self._initialized = False  # a copy of `initialized` that needs no wait for the device

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self._initialized:
            if not self.initialized:
                self.initialize(x)
            self._initialized = True
        return self.scale * (x + self.loc)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set `loc` and `scale` from a batch, with the unbiased standard deviation, as the peers do."""
        x_CN = x.detach().float().transpose(0, 1).flatten(1)
        mean_C = x_CN.mean(1)
        average_over_ranks([mean_C])
        variance_C = (x_CN - mean_C[:, None]).square().mean(1)
        average_over_ranks([variance_C])
        count = x_CN.shape[1] * (dist.get_world_size() if dist.is_initialized() else 1)
        variance_C *= count / (count - 1)
        self.loc.copy_(-mean_C.view_as(self.loc))
        self.scale.copy_(1 / (variance_C.sqrt() + 1e-6).view_as(self.scale))
        self.initialized.fill_(1)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._initialized = False
        super()._load_from_state_dict(*args, **kwargs)
