""" "VQBridge" of table 5 at 262,144 codes: at a constant learning rate."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_262k import *

param_scheduler.update(decay='none')
paper = dict(rows=['t5.7'], rfid_in1k=1.40, usage=100)
