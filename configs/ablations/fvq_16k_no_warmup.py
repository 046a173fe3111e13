"""FVQ without warm-up: table 9.

The hold is 30 % of what follows a warm-up, so here it ends after 30 % of the run and not after 37 %."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

param_scheduler.update(warmup=0)
paper = dict(rows=['t9.2'], rfid_in1k=1.70)
