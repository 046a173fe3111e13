"""ImageNet at 256x256 as VQGAN and IBQ crop it: short side resized to 256, random crop, no flip. 32 images a device."""

from mmengine.config import read_base

with read_base():
    from .imagenet_256 import *

train_dataloader.update(batch_size=32)
train_dataloader.dataset.update(transforms=[dict(type=ADMRandomCrop, size=256, min_fraction=1.0, upsample=True)])
