"""VAR's convolutions that refine a code map after enlarging it (Tian et al., 2024, section 3.2)."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn


class Phi(nn.Conv2d):
    """phi(x) = (1 - ratio) x + ratio conv3x3(x), for (B, D, H, W)."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__(channels, channels, 3, padding=1)
        self.ratio = ratio

    def forward(self, input: Tensor) -> Tensor:
        return (1.0 - self.ratio) * input + self.ratio * super().forward(input)


def phi_of_scales(scales: int, phis: int) -> list[int]:
    """Which phi each scale uses, by the rule in VAR's code.

    Scale s of S lies at s / (S - 1) in [0, 1] and uses the phi with the nearest tick. The ticks of n phis are evenly
    spaced, 1 / (2 n) from both ends, or 1 / (3 n) if there are four, as released. If two are equally near (scales 2 and 7
    of VAR's ten), float64 rounding decides, so the arithmetic here must stay that of the release.
    """
    margin = 1 / 3 / phis if phis == 4 else 1 / 2 / phis
    ticks = np.linspace(margin, 1 - margin, phis)
    return [int(np.abs(ticks - scale / max(scales - 1, 1)).argmin()) for scale in range(scales)]
