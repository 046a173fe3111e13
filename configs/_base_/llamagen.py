"""LlamaGen's recipe (Sun et al., 2024): the base's losses and crops, a constant learning rate that no batch changes."""

from mmengine.config import read_base

with read_base():
    from .imagenet import *

auto_scale_lr.update(enable=False)
param_scheduler.update(warmup=0, decay='none')
