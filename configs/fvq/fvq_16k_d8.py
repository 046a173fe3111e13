"""FVQ with 16,384 codes of 8 channels. The paper does not give the bridge's width here; 256, as in its main row."""

from mmengine.config import read_base

with read_base():
    from .fvq_16k import *

model.tokenizer.quantizer.update(code_dim=8)
model.tokenizer.quantizer.projector.update(hidden_dim=256)
paper = dict(rows=['t3.5'], rfid_in1k=1.47, rfid_coco=7.15, usage=100)
