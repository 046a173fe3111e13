"""ViT-VQGAN base: 170 million parameters, 32 x 32 codes of 8,192."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.vit_vqgan import *
    from .._base_.schedules.vit_vqgan_500k import *
