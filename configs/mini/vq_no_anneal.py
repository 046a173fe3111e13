"""`vq` at a constant learning rate after the warm-up."""

from mmengine.config import read_base

with read_base():
    from .vq import *

param_scheduler.update(decay='none')
