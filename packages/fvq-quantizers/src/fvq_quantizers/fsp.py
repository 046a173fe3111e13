"""Finite scalar perturbation: scalars spread evenly over bins, and perturbed by half a bin in training (Zhai et al., 2026)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops.ranks import mean_over_ranks
from fvq_core.registry import QUANTIZERS

from .implicit_quantizer import ImplicitQuantizer

Activation = Literal['tanh', 'sigmoid', 'normal', 'laplace']
# The distribution function of each activation, and the variance of the distribution it makes uniform.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = dict(
    tanh=(lambda z: (z.tanh() + 1) / 2, math.pi**2 / 12),
    sigmoid=(torch.sigmoid, math.pi**2 / 3),
    normal=(lambda z: (1 + (z / 2**0.5).erf()) / 2, 1.0),
    laplace=(lambda z: 0.5 * (1 + z.sign() * (1 - (-z.abs()).exp())), 2.0),
)
SPREAD = 12**0.5  # a uniform variable on an interval of this length has variance 1


@QUANTIZERS.register_module()
class FSP(ImplicitQuantizer):
    """F(z) in [0, 1] cut into L bins of one width per channel; a code is the middle of its bin, scaled to variance 1.

    In training each scalar is moved by U(-1/2, 1/2) of a bin, or left where that would leave [0, 1], or quantized: the
    decoder learns to bear the error of the bins without seeing them (arXiv 2602.17133). In evaluation all are quantized. As
    the author's module in vector-quantize-pytorch, whose `need_inv_act` (codes in the space of z) is not offered.

    In training, means over channels: `mean_weight` (mean of z)^2 + `variance_weight` (variance of z - that of F)^2, over the
    latents of all ranks.

    Args:
        levels: L of each channel.
        code_dim: D; by default groups x the number of channels. Any other D puts linear maps around the codes.
        groups: Codes per position, each with these levels.
        activation: F: the logistic function of 2 z ('tanh') or of z ('sigmoid'), or the normal or Laplace distribution's.
        quantize_rate: Share of scalars that are quantized in training, with a straight-through gradient; 0 by default there.
        mean_weight: 0.1 there.
        variance_weight: 0.07 there.
        project: See `ImplicitQuantizer`.
        project_bias: See `ImplicitQuantizer`.

    Raises:
        UserError: Fewer than two levels, an unknown activation, a rate outside [0, 1], a negative weight.
    """

    def __init__(
        self,
        levels: Sequence[int],
        code_dim: int | None = None,
        groups: int = 1,
        activation: Activation = 'tanh',
        quantize_rate: float = 0.0,
        mean_weight: float = 0.1,
        variance_weight: float = 0.07,
        project: bool | None = None,
        project_bias: bool = True,
    ) -> None:
        super().__init__(levels, code_dim, groups, project=project, project_bias=project_bias)
        if activation not in ACTIVATIONS:
            raise UserError(f'FSP: activation is one of {", ".join(ACTIVATIONS)}, got {activation!r}.')
        if not 0 <= quantize_rate <= 1 or min(mean_weight, variance_weight) < 0:
            raise UserError(
                f'FSP: quantize_rate must lie in [0, 1] and weights be 0 or more, got {quantize_rate}, {mean_weight} and '
                f'{variance_weight}.'
            )
        self.activation, self.quantize_rate = activation, quantize_rate
        self.mean_weight, self.variance_weight = mean_weight, variance_weight
        self.perturbs = quantize_rate < 1

    def bound(self, z_NGC: Tensor) -> Tensor:
        return (ACTIVATIONS[self.activation][0](z_NGC) - 0.5) * SPREAD

    def choose(self, x_NGC: Tensor) -> Tensor:
        levels_C = x_NGC.new_tensor(self.levels)
        digits = ((x_NGC / SPREAD + 0.5) * levels_C).floor().clamp_min(0)
        return torch.minimum(digits, levels_C - 1).long()

    def values(self, digits_NGC: Tensor) -> Tensor:
        levels_C = torch.tensor(self.levels, device=digits_NGC.device, dtype=torch.float32)
        return ((digits_NGC + 0.5) / levels_C - 0.5) * SPREAD

    def estimate(self, x_NGC: Tensor, codes_NGC: Tensor) -> Tensor:
        straight_NGC = super().estimate(x_NGC, codes_NGC)
        if not self.perturbs:
            return straight_NGC
        width_C = SPREAD / x_NGC.new_tensor(self.levels)
        moved_NGC = x_NGC + (torch.rand_like(x_NGC) - 0.5) * width_C
        moved_NGC = torch.where(moved_NGC.abs() < SPREAD / 2, moved_NGC, x_NGC)
        return torch.where(torch.rand_like(x_NGC) < self.quantize_rate, straight_NGC, moved_NGC)

    def latent_losses(self, z_NGC: Tensor) -> dict[str, Tensor]:
        if not self.mean_weight + self.variance_weight:
            return {}
        mean_GC, square_GC = mean_over_ranks(torch.stack([z_NGC.mean(0), z_NGC.square().mean(0)]))
        count = len(z_NGC) * (dist.get_world_size() if dist.is_initialized() else 1)
        variance_GC = (square_GC - mean_GC.square()) * (count / max(1, count - 1))
        wanted = ACTIVATIONS[self.activation][1]
        apart = self.mean_weight * mean_GC.square() + self.variance_weight * (variance_GC - wanted).square()
        return {'moments': apart.mean()}
