"""FVQ with 65,536 codes of 512 channels; the bridge is as wide as the codes."""

from mmengine.config import read_base

with read_base():
    from .fvq_65k import *

model.tokenizer.quantizer.update(code_dim=512)
paper = dict(rows=['t3.9'], rfid_in1k=1.09, rfid_coco=6.38, usage=100)
