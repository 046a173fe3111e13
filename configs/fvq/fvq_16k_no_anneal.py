"""FVQ at a constant learning rate after the warm-up: "-Ann." of table 3, "VQBridge" of table 5."""

from mmengine.config import read_base

with read_base():
    from .fvq_16k import *

param_scheduler.update(decay='none')
paper = dict(rows=['t3.3', 't5.3'], rfid_in1k=2.61, usage=100)
