"""Alternating optimization: the codebook takes steps on its own loss first (Huh et al., 2023, section 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.ranks import average_over_ranks
from fvq_core.registry import CODEBOOK_UPDATES

from .gradient_update import GradientUpdate

if TYPE_CHECKING:
    from ..vector_quantizer import VectorQuantizer


@CODEBOOK_UPDATES.register_module()
class AlternatingUpdate(GradientUpdate):
    """In each training forward: `steps` steps of the raw codebook on mean |e - sg[z]|^2, then the usual pass.

    The decoder thus sees codes that already fit the batch's latents, not codes that lag one step behind. With a projector
    the loss is that of the mapped codes, and only the raw codebook moves; the projector is left to the training loop.
    Gradients are averaged over ranks. The inner optimizer's state is part of the state dict.

    Use it with `loss=dict(type='VQLoss', codebook_weight=0.0)` unless a projector needs the codebook term.

    Args:
        steps: Inner steps per forward pass; 1 in vqtorch.
        optimizer: `'sgd'` or `'adam'`, as `torch.optim` defines them.
        lr: Inner learning rate. The loss is a mean over N and D, so useful rates are large: 50 in vqtorch's example.
        momentum: SGD's momentum; 0.9 in vqtorch's example.
        search_again: Search again after the inner steps. False, as in vqtorch, saves a search and keeps the codes from
            before the step.
        trainable: Whether the outer optimizer moves the raw codebook too, which a gradient through the codes
            (`SynchronizedStraightThrough`) requires.
    """

    overwrites = True
    acts_before_assignment = True
    momentum_KD: Tensor
    square_KD: Tensor
    count: Tensor

    def __init__(
        self,
        steps: int = 1,
        optimizer: Literal['sgd', 'adam'] = 'sgd',
        lr: float = 50.0,
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.999),
        search_again: bool = True,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        if steps < 1 or lr <= 0:
            raise UserError(f'AlternatingUpdate: steps must be 1 or more and lr above 0, got {steps} and {lr}.')
        if not all(0 <= share < 1 for share in (momentum, *betas)):
            raise UserError(f'AlternatingUpdate: momentum and betas must lie in [0, 1), got {momentum} and {betas}.')
        if optimizer not in ('sgd', 'adam'):
            raise UserError(f"AlternatingUpdate: optimizer must be 'sgd' or 'adam', got {optimizer!r}.")
        self.steps, self.optimizer, self.lr, self.momentum, self.betas = steps, optimizer, lr, momentum, tuple(betas)
        self.search_again, self.trainable = search_again, trainable

    def attach(self, codebook_KD: Tensor, normalize: nn.Module, distance: nn.Module) -> None:
        self.register_buffer('momentum_KD', torch.zeros_like(codebook_KD).detach())
        if self.optimizer == 'adam':
            self.register_buffer('square_KD', torch.zeros_like(codebook_KD).detach())
            self.register_buffer('count', torch.zeros((), device=codebook_KD.device))

    def before_assignment(self, quantizer: VectorQuantizer, z_ND: Tensor) -> Tensor | None:
        z_ND, indices_N = z_ND.detach(), None
        for _ in range(self.steps):
            with torch.enable_grad():
                raw_KD = quantizer.embedding.detach().clone().requires_grad_()
                codebook_KD = quantizer.map(raw_KD)
                indices_N = quantizer.search(z_ND, codebook_KD)
                loss = F.mse_loss(F.embedding(indices_N, codebook_KD), z_ND)
                (gradient_KD,) = torch.autograd.grad(loss, raw_KD)
            average_over_ranks([gradient_KD])
            with torch.no_grad():
                self._descend(quantizer.embedding, gradient_KD)
        return None if self.search_again else indices_N

    def _descend(self, codebook_KD: Tensor, gradient_KD: Tensor) -> None:
        if self.optimizer == 'sgd':
            self.momentum_KD.mul_(self.momentum).add_(gradient_KD)
            codebook_KD.sub_(self.momentum_KD, alpha=self.lr)
            return
        first, second = self.betas
        self.count += 1
        self.momentum_KD.lerp_(gradient_KD, 1.0 - first)
        self.square_KD.mul_(second).addcmul_(gradient_KD, gradient_KD, value=1.0 - second)
        step = self.lr / (1.0 - first**self.count)
        scale_KD = (self.square_KD / (1.0 - second**self.count)).sqrt_().add_(1e-8)
        codebook_KD.sub_(step * self.momentum_KD / scale_KD)
