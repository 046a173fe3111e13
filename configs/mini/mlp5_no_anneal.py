"""`mlp5` at a constant learning rate after the warm-up."""

from mmengine.config import read_base

with read_base():
    from .mlp5 import *

param_scheduler.update(decay='none')
