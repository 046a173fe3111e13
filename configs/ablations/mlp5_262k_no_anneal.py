""" "MLP-5" of table 5: at a constant learning rate."""

from mmengine.config import read_base

with read_base():
    from .mlp5_262k import *

param_scheduler.update(decay='none')
paper = dict(rows=['t5.5'], rfid_in1k=2.06, usage=20)
