"""FVQ at a constant learning rate after the warm-up (`VQBridge` without annealing of table 5)."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

param_scheduler.update(decay='none')
