"""VQGAN with the losses of IBQ and Open-MAGVIT2 (TencentARC/SEED-Voken): L1, a hinge discriminator with LeCAM from the start.

The generator's loss is non-saturating on each image's mean logit, weighted 0.1 and not adaptive: the released code never reads
the `disc_weight` of its files. The release updates IBQ's discriminator before the generator; we update it after, on the same
reconstructions."""

from mmengine.config import read_base

with read_base():
    from .vqgan import *

from fvq_core.losses import L1Loss, NonSaturatingGANLoss

model.update(
    reconstruction_loss=dict(type=L1Loss),
    adversarial=dict(
        type=AdversarialLoss,
        discriminator=dict(type=PatchGAN, ch=64, layers=3),
        loss=dict(type=HingeGANLoss),
        generator_loss=dict(type=NonSaturatingGANLoss, image_mean=True),
        weight=0.1,
        discriminator_weight=1.0,
        start=0,
        lecam=0.05,
    ),
)
