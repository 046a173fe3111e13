"""LlamaGen's schedule (Sun et al., 2024): 40 epochs at a constant learning rate that does not follow the batch."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

auto_scale_lr.update(enable=False)
param_scheduler.update(warmup=0, decay='none')
