"""UniTok-Large for images only: 16 x 16 positions of eight codes, 696 million parameters, with the recipe of its release.

The batch is 64 images a device on 256 devices. It needs DINOv2's weights; `tools/train.py` says where from."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.unitok import *
    from .._base_.schedules.unitok_78k import *

train_dataloader.update(batch_size=64)
