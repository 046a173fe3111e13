"""Finite scalar quantization (Mentzer et al., 2024): each channel is bounded and rounded to a few levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS

from .implicit_quantizer import ImplicitQuantizer

MARGIN = 1e-3  # the bound exceeds the outermost level by this share of the half width


@QUANTIZERS.register_module()
class FSQ(ImplicitQuantizer):
    """round(tanh(z)) to L levels per channel, straight-through, without loss or codebook.

    The bound is tanh(z + shift) (L - 1) / 2 - 0.5 for even L (the half level makes rounding symmetric in the levels, the
    shift keeps 0 at 0), without offset and shift for odd L; codes are divided by L // 2, so they lie in [-1, 1]:
    for even L from -1 to 1 - 2 / L. Always computed in float32: bfloat16 halves the codes in use.

    Args:
        levels: Levels of each channel. The paper's table 1: (8, 6, 5) for about 2^8 codes, (8, 5, 5, 5) for 2^10,
            (7, 5, 5, 5, 5) for 2^12, (8, 8, 8, 6, 5) for 2^14, (8, 8, 8, 5, 5, 5) for 2^16.
        symmetric: Levels from -1 to 1 for even L too: -1 + 2 floor((L - 1)(tanh(z) + 1) / 2 + 0.5) / (L - 1) (Parker et
            al., 2024, section 3.2).
        code_dim: D; by default groups x the number of channels. Any other D puts linear maps around the codes.
        groups: Codes per position, each with these levels.
        noise_dropout: In training, the share of channels that get U(-0.5, 0.5) added to their code; only with symmetric
            levels (Parker et al., 2024).
        hard_clamp: Clamp to [-1, 1] instead of tanh.
        slope: a in tanh(a z). At 0.8 it is iFSQ's 2 sigmoid(1.6 z) - 1, which spreads N(0, 1) almost evenly (Lin et al., 2026,
            arXiv 2601.17124); iFSQ's levels are symmetric.
        token_channels: Channels of each token that a generator sees instead of one index; iFSQ has (2, 2).
        project: See `ImplicitQuantizer`.
        project_bias: See `ImplicitQuantizer`.

    Raises:
        UserError: Fewer than two levels in a channel; two levels, or noise, without `symmetric`; a slope of 0 or less.
    """

    def __init__(
        self,
        levels: Sequence[int],
        symmetric: bool = False,
        code_dim: int | None = None,
        groups: int = 1,
        noise_dropout: float = 0.0,
        hard_clamp: bool = False,
        slope: float = 1.0,
        token_channels: Sequence[int] | None = None,
        project: bool | None = None,
        project_bias: bool = True,
    ) -> None:
        super().__init__(levels, code_dim, groups, token_channels, project=project, project_bias=project_bias)
        if not 0.0 <= noise_dropout <= 1.0:
            raise UserError(f'FSQ: noise_dropout must lie in [0, 1], got {noise_dropout}.')
        if not 0.0 < slope < math.inf:
            raise UserError(f'FSQ: slope must be above 0, got {slope}; 1 is FSQ, 0.8 iFSQ.')
        if not symmetric and (2 in self.levels or noise_dropout):
            raise UserError('FSQ: two levels in a channel, or noise_dropout, need symmetric=True.')
        self.symmetric, self.noise_dropout, self.hard_clamp, self.slope = symmetric, noise_dropout, hard_clamp, slope
        self.perturbs = noise_dropout > 0

    def bound(self, z_NGC: Tensor) -> Tensor:
        z_NGC = z_NGC if self.slope == 1.0 else self.slope * z_NGC
        if self.symmetric:
            return self._squash(z_NGC)
        levels_C = z_NGC.new_tensor(self.levels)
        half_C = (levels_C - 1) * (1 + MARGIN) / 2
        offset_C = 0.5 * (levels_C % 2 == 0)
        shift_C = offset_C / half_C
        bounded = self._squash(z_NGC + (shift_C if self.hard_clamp else shift_C.atanh())) * half_C - offset_C
        return bounded / (levels_C // 2)

    def _squash(self, z_NGC: Tensor) -> Tensor:
        return z_NGC.clamp(-1, 1) if self.hard_clamp else z_NGC.tanh()

    def choose(self, x_NGC: Tensor) -> Tensor:
        levels_C = x_NGC.new_tensor(self.levels)
        if self.symmetric:
            digits = ((levels_C - 1) * (x_NGC + 1) / 2 + 0.5).floor()
        else:
            digits = (x_NGC * (levels_C // 2)).round() + levels_C // 2
        return torch.minimum(digits.clamp_min(0), levels_C - 1).long()  # beyond 1,000 levels the margin is half a level

    def values(self, digits_NGC: Tensor) -> Tensor:
        levels_C = torch.tensor(self.levels, device=digits_NGC.device, dtype=torch.float32)
        if self.symmetric:
            return digits_NGC * (2 / (levels_C - 1)) - 1
        return (digits_NGC - levels_C // 2) / (levels_C // 2)

    def estimate(self, x_NGC: Tensor, codes_NGC: Tensor) -> Tensor:
        codes_NGC = super().estimate(x_NGC, codes_NGC)
        if not self.noise_dropout:
            return codes_NGC
        noise_NGC = torch.rand_like(codes_NGC) - 0.5
        chosen_NGC = torch.rand_like(codes_NGC) < self.noise_dropout
        return torch.where(chosen_NGC, codes_NGC + noise_NGC, codes_NGC).clamp(-1, 1)
