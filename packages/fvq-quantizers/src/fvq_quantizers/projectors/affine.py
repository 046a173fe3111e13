"""Affine reparametrization of the codebook (Huh et al., 2023, section 4.2; vqtorch)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.ranks import average_over_ranks
from fvq_core.projector import Projector
from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module(name=['AffineProjector', 'Affine'])
class AffineProjector(Projector):
    """All codes share a scale and a bias, (1 + lr s) c + lr b, so unused codes move with the used ones.

    With `use_running_statistics` nothing is trained: scale and bias give the codes the mean and standard deviation of the
    latents, channel by channel, from moving averages of both.

    Args:
        lr: Learning rate of s and b relative to the optimizer's; both start at zero. 1 in vqtorch, 10 in its example.
        num_groups: Groups of consecutive codes, each with its own scale and bias.
        use_running_statistics: Take scale and bias from moments instead of gradients.
        momentum: Weight of a batch in the moving averages.
    """

    latent_mean: Tensor
    latent_var: Tensor
    code_mean: Tensor
    code_var: Tensor
    observed: Tensor

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        lr: float = 1.0,
        num_groups: int = 1,
        use_running_statistics: bool = False,
        momentum: float = 0.1,
    ) -> None:
        super().__init__(codebook_size, code_dim)
        if num_groups < 1 or codebook_size % num_groups:
            raise UserError(
                f'AffineProjector: codebook_size {codebook_size} is not a multiple of num_groups {num_groups}; '
                'choose a divisor.'
            )
        if use_running_statistics and num_groups > 1:
            raise UserError(
                f'AffineProjector: with use_running_statistics all {num_groups} groups would share the statistics of '
                'all latents; drop num_groups.'
            )
        if not 0.0 < momentum <= 1.0:
            raise UserError(f'AffineProjector: momentum must lie in (0, 1], got {momentum}; 0.1 is usual.')
        self.lr, self.num_groups, self.momentum = lr, num_groups, momentum
        self.use_running_statistics = self.observes_latents = use_running_statistics
        if use_running_statistics:
            for vectors in ('latent', 'code'):
                self.register_buffer(f'{vectors}_mean', torch.zeros(code_dim))
                self.register_buffer(f'{vectors}_var', torch.ones(code_dim))
            self.register_buffer('observed', torch.tensor(0.0))
        else:
            self.scale = nn.Parameter(torch.zeros(num_groups, code_dim))
            self.bias = nn.Parameter(torch.zeros(num_groups, code_dim))

    def forward(self, codebook_KD: Tensor) -> Tensor:
        if self.use_running_statistics:
            scale_D = (self.latent_var / (self.code_var + 1e-8)).sqrt()
            return scale_D * codebook_KD + (self.latent_mean - scale_D * self.code_mean)
        groups = codebook_KD.reshape(self.num_groups, -1, codebook_KD.shape[-1])
        scale, bias = 1.0 + self.lr * self.scale.unsqueeze(1), self.lr * self.bias.unsqueeze(1)
        return (scale * groups + bias).reshape(codebook_KD.shape)

    @torch.no_grad()
    def observe(self, z_ND: Tensor, codebook_KD: Tensor) -> None:
        """Update the running statistics with a training batch, its moments averaged over ranks."""
        if not self.use_running_statistics:
            return
        z_ND, codebook_KD = z_ND.detach().float(), codebook_KD.detach().float()
        mean_D, square_D = z_ND.mean(0), z_ND.square().mean(0)
        average_over_ranks([mean_D, square_D])
        # The first batch replaces the initial values; arithmetic instead of `if`, which would wait for a GPU.
        weight = torch.where(self.observed > 0, self.momentum, 1.0)
        batch = {
            'latent_mean': mean_D,
            'latent_var': (square_D - mean_D.square()).clamp_min(0.0),
            'code_mean': codebook_KD.mean(0),
            'code_var': codebook_KD.var(0, unbiased=False),
        }
        for name, value in batch.items():
            buffer = getattr(self, name)
            buffer.copy_(torch.lerp(buffer, value, weight))
        self.observed.fill_(1.0)
