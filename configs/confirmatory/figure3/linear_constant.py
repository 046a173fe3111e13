"""`linear` at a constant learning rate after the warm-up: figure 3 has it at 100 % of 16,384 codes."""

from mmengine.config import read_base

with read_base():
    from .linear import *

param_scheduler.update(decay='none')
