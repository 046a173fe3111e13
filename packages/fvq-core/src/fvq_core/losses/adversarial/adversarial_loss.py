"""The adversarial loss: the discriminator, its loss, and the generator loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from ...registry import DISCRIMINATORS, LOSSES
from ..gan import GANLoss
from .adaptive_weight import adaptive_weight
from .gradient_penalty import R1Penalty, check_no_batch_norm
from .lecam import LeCAM

Component = Mapping[str, Any]


@LOSSES.register_module()
class AdversarialLoss(nn.Module):
    """A discriminator between images and reconstructions, both in [-1, 1]. Defaults are the paper's (table 6).

    The tokenizer's step calls `generator` and `generator_weight`; the discriminator's step calls `forward`, and only that
    goes through DDP. Neither is called before `start`, so the discriminator keeps its initial weights.

    Args:
        discriminator: Config of a component of `DISCRIMINATORS`; `PatchGAN` by default.
        loss: Config of a GAN loss of `LOSSES`; `HingeGANLoss` by default.
        generator_loss: Config of the generator's GAN loss, if it differs from `loss`.
        weight: Weight of the generator's loss. 0.5 in LlamaGen and FVQ, 0.8 in VQGAN, 0.1 in IBQ.
        start: First iteration, 0-based, with an adversarial loss. 20,000 in LlamaGen and FVQ.
        adaptive: Whether to multiply `weight` by VQGAN's `adaptive_weight`.
        discriminator_weight: Weight of the discriminator's loss. 0.5 in LlamaGen and FVQ, 1 in VQGAN and IBQ.
        lecam: Weight of `LeCAM`, or its config; None for none.
        r1: Weight of `R1Penalty`, or its config; None for none.
        augment: Config of what images and reconstructions go through before the discriminator, such as `DiffAugment`.
        consistency: Weight of balanced consistency regularization (Zhao et al., 2021): logits shall not change with another
            draw of `augment`. 4 in UniTok.
        warmup: Number of calls from `start` and `delay` on, one for each micro-batch, over which `weight` rises from 0.
        delay: Number of calls from `start` on in which only the discriminator trains and `weight` is 0, as in OptVQ.

    Raises:
        UserError: `r1` with a discriminator that has BatchNorm, or `consistency` without `augment`.
    """

    warmed: Tensor

    def __init__(
        self,
        discriminator: Component | None = None,
        loss: Component | None = None,
        generator_loss: Component | None = None,
        weight: float = 0.5,
        start: int = 20000,
        adaptive: bool = False,
        discriminator_weight: float = 0.5,
        lecam: float | Component | None = None,
        r1: float | Component | None = None,
        augment: Component | None = None,
        consistency: float = 0.0,
        warmup: int = 0,
        delay: int = 0,
    ) -> None:
        super().__init__()
        self.discriminator: nn.Module = DISCRIMINATORS.build(discriminator or dict(type='PatchGAN'))
        self.loss: GANLoss = LOSSES.build(loss or dict(type='HingeGANLoss'))
        self.generator_loss: GANLoss = LOSSES.build(generator_loss) if generator_loss else self.loss
        self.weight, self.start, self.adaptive = weight, start, adaptive
        self.discriminator_weight = discriminator_weight
        self.lecam: LeCAM | None = build_term(lecam, 'LeCAM')
        self.r1: R1Penalty | None = build_term(r1, 'R1Penalty')
        if self.r1 is not None:
            check_no_batch_norm(self.discriminator)
        self.augment = LOSSES.build(augment) if augment else nn.Identity()
        self.consistency, self.warmup, self.delay = consistency, warmup, delay
        if consistency and not augment:
            raise UserError(
                "AdversarialLoss: consistency compares draws of augment; add augment=dict(type='DiffAugment')."
            )
        if warmup or delay:
            self.register_buffer('warmed', torch.zeros((), dtype=torch.int64))
        if adaptive:
            from torch._functorch import config

            # The adaptive weight runs compiled backward passes more than once. One compiled before `start`, when it ran
            # once per step, would fail at `start`.
            config.donated_buffer = False

    def active(self, iteration: int) -> bool:
        """Whether an iteration (0-based) has an adversarial loss."""
        return iteration >= self.start

    def generator(self, fake_BCHW: Tensor) -> Tensor:
        """The generator's loss, unweighted: a scalar whose gradient reaches the fakes but not the discriminator."""
        with frozen(self.discriminator):
            logits = self.discriminator(self.augment(fake_BCHW))
        return self.generator_loss.generator(logits.float())

    def generator_weight(self, reconstruction_terms: Tensor, generator_loss: Tensor, last_layer: Tensor) -> Tensor:
        """The weight of the generator's loss, a scalar without gradient; takes the arguments of `adaptive_weight`."""
        weight = torch.full((), self.weight, device=generator_loss.device)
        if self.adaptive:
            weight = weight * adaptive_weight(reconstruction_terms, generator_loss, last_layer)
        if self.warmup or self.delay:
            # Without a warm-up the weight is whole once the delay is over.
            passed = self.warmed - self.delay + (0 if self.warmup else 1)
            weight = weight * (passed / max(self.warmup, 1)).clamp(0, 1)
            self.warmed += 1
        return weight

    def forward(self, real_BCHW: Tensor, fake_BCHW: Tensor) -> dict[str, Tensor]:
        """The discriminator's weighted loss terms by name: `discriminator`, and `lecam`, `r1`, `consistency` if used.

        Real images and fakes are two forward passes, so that BatchNorm sees them apart.
        """
        real_BCHW, fake_BCHW = real_BCHW.detach(), fake_BCHW.detach()
        seen_BCHW = self.augment(real_BCHW)
        if self.r1 is None:
            logits_real, penalty = self.discriminator(seen_BCHW), None
        else:
            logits_real, penalty = self.r1(self.discriminator, seen_BCHW)
        logits_real, logits_fake = logits_real.float(), self.discriminator(self.augment(fake_BCHW)).float()
        losses = {'discriminator': self.discriminator_weight * self.loss.discriminator(logits_real, logits_fake)}
        if self.lecam is not None:
            losses['lecam'] = self.lecam(logits_real, logits_fake)
        if penalty is not None:
            losses['r1'] = penalty
        if self.consistency:
            pairs = ((real_BCHW, logits_real), (fake_BCHW, logits_fake))
            other = [F.mse_loss(self.discriminator(self.augment(x)).float(), logits) for x, logits in pairs]
            losses['consistency'] = self.consistency * torch.stack(other).sum()
        return losses

    def extra_repr(self) -> str:
        return (
            f'weight={self.weight}, start={self.start}, adaptive={self.adaptive}, '
            f'discriminator_weight={self.discriminator_weight}'
        )

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Starts at the second iteration, so that a smoke run trains without and with it; warm-up and delay are over soon."""
        few = {key: min(cfg.get(key, 0), 1) for key in ('warmup', 'delay')}
        return dict(start=min(cfg.get('start', 1), 1), **few)


def build_term(option: float | Component | None, name: str) -> Any:
    """A penalty from its weight or its config, or None."""
    if option is None:
        return None
    return LOSSES.build(option if isinstance(option, Mapping) else dict(type=name, weight=option))


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Forward passes inside give no gradient to the module's parameters."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
