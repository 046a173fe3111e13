"""The full recipe at photo size: FVQ with a PatchGAN from the middle of the run on, and a moving average of the weights."""

from mmengine.config import read_base

with read_base():
    from .fvq_photos import *

from fvq_core.losses.adversarial import AdversarialLoss
from fvq_core.losses.discriminators import PatchGAN
from fvq_core.training.hooks import EMAHook

model.update(
    adversarial=dict(type=AdversarialLoss, discriminator=dict(type=PatchGAN, ch=32, layers=2), weight=0.1, start=800)
)
default_hooks.update(ema=dict(type=EMAHook, decay=0.99))
