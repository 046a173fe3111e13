""" "linear" of table 5: a linear map at a constant learning rate."""

from mmengine.config import read_base

with read_base():
    from .linear_16k import *

param_scheduler.update(decay='none')
paper = dict(rows=['t5.1'], rfid_in1k=2.10, usage=100)
