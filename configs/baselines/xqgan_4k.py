"""XQ-GAN with one code of 4,096 at each of 16 x 16 positions: its `VQ-4096`. The batch is 128 images on each of 8 devices."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_flipped_crop import *
    from .._base_.models.xqgan import *
    from .._base_.schedules.xqgan_200e import *

train_dataloader.update(batch_size=128)
