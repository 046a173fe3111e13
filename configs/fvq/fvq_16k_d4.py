"""FVQ with 16,384 codes of 4 channels. The paper does not give the bridge's width here; 256, as in its main row."""

from mmengine.config import read_base

with read_base():
    from .fvq_16k import *

model.tokenizer.quantizer.update(code_dim=4)
model.tokenizer.quantizer.projector.update(hidden_dim=256)
paper = dict(rows=['t3.4'], rfid_in1k=1.71, rfid_coco=7.64, usage=100)
