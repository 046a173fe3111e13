"""LlamaGen-B: 111 M parameters."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.llamagen_b import *
    from .._base_.schedules.llamagen_300e import *
