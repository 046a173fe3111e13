"""FVQ at 32x32 tokens: the downsampling of VQ-8."""

from mmengine.config import read_base

with read_base():
    from .fvq_16k import *

model.tokenizer.encoder.update(ch_mult=(1, 2, 2, 4))
model.tokenizer.decoder.update(ch_mult=(1, 2, 2, 4))
paper = dict(rows=['t3.14'], rfid_in1k=0.39, rfid_coco=3.84, usage=100)
