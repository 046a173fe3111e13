"""The two-dimensional toy of figure 2: a moving cloud of latents, the codes that should follow it, and plain SGD."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.quantizer import Quantizer
from fvq_core.registry import QUANTIZERS

from .center_shift import Step, shift_means

_VQ = dict(type='VectorQuantizer')
_BRIDGE = dict(type='VQBridge', patch_size=4, hidden_dim=16, num_heads=4)
_RAW = dict(type='NormalInit', std=1.0)
# How the raw codes start decides as much as the method does, so a name without a suffix has one start and its twin the
# other: `_uniform` is the release's U(-1/K, 1/K), which is the quantizer's default and that of `vq` too. Else it is N(0, 1)
# for VQBridge and `vq_spread`, SimVQ's N(0, 1/D) for linear and MLP-5. `codebook_size` and `code_dim` are the toy's.
METHODS: dict[str, dict[str, Any]] = {
    'vq': _VQ,
    'vq_spread': dict(_VQ, init=_RAW),
    'linear': dict(_VQ, projector=dict(type='LinearProjector'), init=dict(type='NormalInit')),
    'linear_uniform': dict(_VQ, projector=dict(type='LinearProjector')),
    'mlp5': dict(_VQ, projector=dict(type='MLPProjector'), init=dict(type='NormalInit')),
    'vqbridge': dict(_VQ, projector=_BRIDGE, init=_RAW),
    'vqbridge_uniform': dict(_VQ, projector=_BRIDGE),
}
SHOWN = ('vq', 'linear', 'vqbridge')
LARGEST = 1e15  # coordinates; their squares are still far from the end of float32


@dataclass(frozen=True)
class Toy:
    """The task, the same for every method.

    Latents are z_e = A x + b with x from three Gaussians around the origin; A starts as the identity and b at zero. The fixed
    objective is 1/2 |z_q - y|^2, where y is x turned by 60 degrees and moved by (3, 1). A, b and the quantizer take
    SGD steps of one size; the quantizer is the real one, in training mode, with its own losses. At these means a code
    without a projector moves by exactly eq. 6, with eta = lr x the share of latents that chose it.

    Args:
        codes: K.
        latents: N.
        steps: T.
        lr: Learning rate of SGD, without momentum or decay.
        spread: Standard deviation of each Gaussian; their centres lie on the unit circle.
    """

    codes: int = 32
    latents: int = 192
    steps: int = 400
    lr: float = 0.03
    spread: float = 0.25

    def __post_init__(self) -> None:
        if min(self.codes, self.steps) < 1 or self.latents < 2 or self.lr <= 0 or self.spread < 0:
            raise UserError(f'toy: give codes and steps from 1, latents from 2, lr above 0, spread from 0, got {self}.')

    def points(self, seed: int) -> tuple[Tensor, Tensor]:
        """x (N, 2) and its targets y (N, 2)."""
        rng = torch.Generator().manual_seed(seed)
        angles = torch.arange(self.latents) % 3 * (2.0 * math.pi / 3.0)
        centres_N2 = torch.stack([angles.cos(), angles.sin()], 1)
        x_N2 = centres_N2 + self.spread * torch.randn(self.latents, 2, generator=rng)
        cos, sin = math.cos(math.pi / 3.0), math.sin(math.pi / 3.0)
        return x_N2, x_N2 @ torch.tensor([[cos, sin], [-sin, cos]]) + torch.tensor([3.0, 1.0])


@dataclass(frozen=True)
class Trajectory:
    """One run; index t is the state that the forward pass of step t meets, 0 to T.

    Attributes:
        z_TN2: Latents.
        codebook_TK2: The mapped codebook.
        indices_TN: Chosen codes, int64.
        target_N2: y.
    """

    z_TN2: Tensor
    codebook_TK2: Tensor
    indices_TN: Tensor
    target_N2: Tensor

    def z_q(self, t: int) -> Tensor:
        """The chosen codes of step t, (N, 2)."""
        return self.codebook_TK2[t, self.indices_TN[t]]

    def used(self, t: int) -> Tensor:
        """Whether each code is chosen at step t, bool (K,)."""
        return torch.bincount(self.indices_TN[t], minlength=self.codebook_TK2.shape[1]) > 0

    def moved(self, t: int, least: float = 1e-3) -> Tensor:
        """Whether each code lies farther than `least` from its start at step t, bool (K,)."""
        return (self.codebook_TK2[t] - self.codebook_TK2[0]).norm(dim=1) > least

    def path(self) -> Tensor:
        """The way of the latents' mean, (T + 1, 2)."""
        return self.z_TN2.mean(1)

    def detour(self) -> float:
        """The length of the mean's way over the straight line from its start to the target's mean; 1 is straight."""
        way, goal = self.path(), self.target_N2.mean(0)
        return ((way[1:] - way[:-1]).norm(dim=1).sum() / (goal - way[0]).norm()).item()

    def rows(self) -> list[dict[str, float]]:
        """Every step's numbers; those of a move are of the step from t - 1 to t, so row 0 lacks them."""
        rows = []
        for t in range(len(self.z_TN2)):
            z_N2, z_q_N2 = self.z_TN2[t], self.z_q(t)
            error = (z_q_N2 - z_N2).square().sum(1).mean().item()
            row = {
                'step': t,
                'usage': 100.0 * self.used(t).double().mean().item(),
                'moved': 100.0 * self.moved(t).double().mean().item(),
                'estimation_error': error,
                'relative_estimation_error': error / (z_N2 - z_N2.mean(0)).square().sum(1).mean().item(),
                'task_loss': 0.5 * (z_q_N2 - self.target_N2).square().sum(1).mean().item(),
            }
            if t:
                row['switched'] = 100.0 * (self.indices_TN[t] != self.indices_TN[t - 1]).double().mean().item()
                row |= {name: value.item() for name, value in shift_means(self.step(t)).items()}
            rows.append(row)
        return rows

    def step(self, t: int) -> Step:
        """What moved between steps t - 1 and t."""
        before, after = self.codebook_TK2[t - 1], self.codebook_TK2[t]
        old_N, new_N = self.indices_TN[t - 1], self.indices_TN[t]
        return Step(self.z_TN2[t - 1], self.z_TN2[t], before[old_N], after[new_N], before[new_N], after[old_N])


def run_toy(toy: Toy, method: Mapping[str, Any], seed: int = 0) -> Trajectory:
    """Train the toy with one quantizer, on the CPU; a second for 400 steps, and the same for a seed every time.

    Args:
        toy: The task.
        method: Config of a component of `QUANTIZERS` that takes `codebook_size` and `code_dim` and gives one code a
            position; those two arguments are set here.
        seed: Seed of the points and of the start values.

    Raises:
        UserError: The run diverged.
    """
    x_N2, target_N2 = toy.points(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        quantizer: Quantizer = QUANTIZERS.build(dict(method, codebook_size=toy.codes, code_dim=2)).train()
        encoder = nn.Linear(2, 2)
        nn.init.eye_(encoder.weight)
        nn.init.zeros_(encoder.bias)
        if quantizer.needs_init:
            quantizer.initialize(encoder(x_N2).detach())
        trained = [p for p in (*encoder.parameters(), *quantizer.parameters()) if p.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=toy.lr)
        states: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(toy.steps + 1):
            z_N2 = encoder(x_N2)
            codebook_K2 = quantizer.codebook().detach().clone()
            if not torch.cat([z_N2, codebook_K2]).abs().max() < LARGEST:  # also if one is not a number
                raise UserError(f'toy: {method} diverged at lr {toy.lr:g}; choose a lower one.')
            out = quantizer(z_N2.t().reshape(1, 2, 1, toy.latents))
            states.append((z_N2.detach(), codebook_K2, out.codes.indices_BL[0]))
            task = 0.5 * (out.z_q_BDHW.reshape(2, toy.latents).t() - target_N2).square().sum(1).mean()
            optimizer.zero_grad()
            torch.stack([task, *out.losses.values()]).sum().backward()
            optimizer.step()
    z, codebooks, indices = (torch.stack(part) for part in zip(*states, strict=True))
    return Trajectory(z, codebooks, indices, target_N2)
