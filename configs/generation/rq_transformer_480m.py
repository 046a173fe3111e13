"""RQ-Transformer with 481 M parameters: 12 blocks over the positions, 4 over the depths. 8 devices with 256 images each."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_images import *
    from .._base_.models.rq_transformer import *
    from .._base_.schedules.rq_transformer_100e import *

train_dataloader.update(batch_size=256)
