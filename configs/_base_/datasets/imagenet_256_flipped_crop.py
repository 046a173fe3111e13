"""ImageNet at 256x256 as TiTok crops it: short side resized to 256, random crop, flip. 32 images a device."""

from mmengine.config import read_base

with read_base():
    from .imagenet_256_random_crop import *

train_dataloader.dataset.transforms.append(dict(type=HorizontalFlip, on_device=True))
