"""ImageNet as IBQ crops it for its generators: the short side resized to 256, a new random crop each time, no flip.

96 images a device."""

from mmengine.config import read_base

with read_base():
    from .imagenet_256_images import *

train_dataloader.update(batch_size=96)
train_dataloader.dataset.update(transforms=[dict(type=ADMRandomCrop, size=256, min_fraction=1.0, upsample=True)])
