"""Flow matching along straight lines from noise to data (Lipman et al., 2023; SiT's linear path)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .gaussian_process import Predict

SOLVERS = ('euler', 'heun')


def flow_losses(predict: Predict, x: Tensor, t_B: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """`mse` of the velocity `x - noise` of each sample (B,).

    Args:
        predict: The network, called with `t x + (1 - t) noise` and times (B,) in [0, 1].
        x: Data (B, C, ...), of about unit variance.
        t_B: Times, 0 at the noise.
        noise: Standard normal, as x.
    """
    t = t_B.view(-1, *[1] * (x.dim() - 1))
    velocity = predict(t * x + (1 - t) * noise, t_B)
    return {'mse': (velocity - (x - noise)).square().flatten(1).mean(1)}


def follow(predict: Predict, x: Tensor, steps: int, solver: str = 'heun') -> Iterator[tuple[Tensor, Tensor]]:
    """Integrate the velocity from noise (t = 0) to data (t = 1) in equal steps; yields the data so far and where they lead.

    Args:
        predict: The network.
        x: Noise (B, C, ...).
        steps: Number of steps.
        solver: `'euler'`, or `'heun'`, of second order, which calls the network twice a step but the last.
    """
    for number in range(steps):
        t, width = number / steps, 1 / steps
        velocity = predict(x, torch.full((len(x),), t, device=x.device))
        if solver == 'heun' and number < steps - 1:
            there = predict(x + width * velocity, torch.full((len(x),), t + width, device=x.device))
            velocity = (velocity + there) / 2
        x = x + width * velocity
        yield x, x + (1 - t - width) * velocity
