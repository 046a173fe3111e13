"""GigaTok S-S, 129 million parameters: 256 tokens of one code in 16,384. The release counts the head of the alignment too, 136."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.gigatok import *
    from .._base_.schedules.gigatok_1000k import *
