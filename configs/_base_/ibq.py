"""The recipe of IBQ and Open-MAGVIT2 (TencentARC/SEED-Voken): L1, hinge discriminator with LeCAM from the start, moving average.

The generator's loss is non-saturating on each image's mean logit, weighted 0.1 and not adaptive: the `disc_weight` of the
released files is not read. Short side resized to 256, random crop, no flip; 330 epochs, the rate falls at 250 and 300. The
release trains IBQ in float16 on GPUs and in bfloat16 on NPUs; here bfloat16. It steps IBQ's discriminator before the generator,
we after, on the same reconstructions."""

from mmengine.config import read_base

with read_base():
    from .imagenet import *

from fvq_core.training.hooks import EMAHook
from fvq_core.losses import L1Loss, NonSaturatingGANLoss
from fvq_core.training.schedules import StepDecayLR

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
train_dataloader.update(batch_size=32)
train_dataloader.dataset.update(transforms=[dict(type=ADMRandomCrop, size=256, min_fraction=1.0, upsample=True)])
train_cfg.update(max_epochs=330)
optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=1e-4, betas=(0.5, 0.9), fused=True),
    max_norm=None,
    precision='bfloat16',
)
auto_scale_lr.update(base_batch_size=256)
param_scheduler = dict(type=StepDecayLR, milestones=(250 / 330, 300 / 330))
default_hooks.update(ema=dict(type=EMAHook, decay=0.999))
