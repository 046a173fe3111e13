"""FVQ with cosine instead of linear decay: table 9."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

param_scheduler.update(decay='cosine')
paper = dict(rows=['t9.3'], rfid_in1k=1.32)
