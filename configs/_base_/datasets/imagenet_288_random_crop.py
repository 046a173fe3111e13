"""ImageNet as VAR crops it: a new crop of 256x256 of the short side of 288 each time, no flip. 96 images a device.

The release shrinks images by Lanczos' filter; here they are halved by averages and then shrunk by a bicubic one, as ADM does."""

from mmengine.config import read_base

with read_base():
    from .imagenet_256_images import *

train_dataloader.update(batch_size=96)
train_dataloader.dataset.update(
    transforms=[dict(type=ADMRandomCrop, size=256, min_fraction=8 / 9, max_fraction=8 / 9, upsample=True)]
)
