"""FVQ with 65,536 codes of 512 channels, 120 epochs."""

from mmengine.config import read_base

with read_base():
    from .fvq_65k_d512 import *

train_cfg.update(max_epochs=120)
paper = dict(rows=['t3.10'], rfid_in1k=1.00, rfid_coco=6.16, usage=100)
