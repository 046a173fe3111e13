"""TiTok in a single stage: no proxy tokenizer, pixels from the first step. A million iterations, as its author advises.

There are 128 tokens of 8,192 codes; for 64 or 32 set `tokens` of both halves."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_flipped_crop import *
    from .._base_.models.titok_single import *
    from .._base_.schedules.titok_1000k import *
