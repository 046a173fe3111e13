"""LlamaGen's VQ-8: 32x32 tokens."""

from mmengine.config import read_base

with read_base():
    from .llamagen_16k import *

model.tokenizer.encoder.update(ch_mult=(1, 2, 2, 4))
model.tokenizer.decoder.update(ch_mult=(1, 2, 2, 4))
paper = dict(rows=['t3.13'], rfid_in1k=0.98, rfid_coco=5.03, usage=97)
