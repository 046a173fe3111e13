"""TiTok-S (Yu et al., 2024), stage 1 of 2: 128 codes, from which MaskGIT's 256 codes of the image are predicted."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_flipped_crop import *
    from .._base_.models.titok_stage1 import *
    from .._base_.schedules.titok_1000k import *
