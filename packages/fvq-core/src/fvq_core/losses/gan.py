"""GAN losses of discriminator and generator, as functions of logits: high means real."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import LOSSES


class GANLoss(nn.Module):
    """A pair of losses. Logits may have any shape, such as (B, 1, h, w) from a PatchGAN or (B, 1); all count equally."""

    def discriminator(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        """Scalar: the mean of the losses on real images and on fakes."""
        raise NotImplementedError

    def generator(self, logits_fake: Tensor) -> Tensor:
        """Scalar: falls as the fakes look more real to the discriminator."""
        raise NotImplementedError


@LOSSES.register_module()
class HingeGANLoss(GANLoss):
    """Hinge at +-1 for the discriminator, -mean(logits) for the generator: VQGAN, LlamaGen, FVQ (the paper, table 6)."""

    def discriminator(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return 0.5 * (F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean())

    def generator(self, logits_fake: Tensor) -> Tensor:
        return -logits_fake.mean()


@LOSSES.register_module()
class VanillaGANLoss(GANLoss):
    """Softplus: the cross-entropy of Goodfellow et al. (2014), with the generator's -log D(G) of their section 3.

    Peers use this only for the discriminator, with -mean(logits) for the generator: `generator_loss=HingeGANLoss`.
    """

    def discriminator(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return 0.5 * (F.softplus(-logits_real).mean() + F.softplus(logits_fake).mean())

    def generator(self, logits_fake: Tensor) -> Tensor:
        return F.softplus(-logits_fake).mean()


@LOSSES.register_module()
class NonSaturatingGANLoss(GANLoss):
    """Binary cross-entropy of the logits with the labels 1 (real) and 0 (fake): MaskGIT, IBQ's generator.

    Args:
        image_mean: Average an image's logits before the loss, as IBQ does, instead of the losses of its logits.
        swapped: As in LlamaGen's and FVQ's releases, which pass the two arguments in the wrong order: labels as logits.
            The losses are then linear in the logits, and the discriminator learns nothing from fakes.
    """

    def __init__(self, image_mean: bool = False, swapped: bool = False) -> None:
        super().__init__()
        self.image_mean, self.swapped = image_mean, swapped

    def discriminator(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return 0.5 * (self.cross_entropy(logits_real, 1.0) + self.cross_entropy(logits_fake, 0.0))

    def generator(self, logits_fake: Tensor) -> Tensor:
        return self.cross_entropy(logits_fake, 1.0)

    def cross_entropy(self, logits: Tensor, label: float) -> Tensor:
        """Mean over logits, or over images with `image_mean`."""
        if self.image_mean:
            logits = logits.flatten(1).mean(1)
        labels = torch.full_like(logits, label)
        pair = (labels, logits) if self.swapped else (logits, labels)
        return F.binary_cross_entropy_with_logits(*pair)

    def extra_repr(self) -> str:
        return f'image_mean={self.image_mean}, swapped={self.swapped}'
