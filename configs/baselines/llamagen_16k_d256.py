"""LlamaGen's tokenizer with 256 channels; its codebook collapses."""

from mmengine.config import read_base

with read_base():
    from .llamagen_16k import *

model.tokenizer.quantizer.update(code_dim=256)
paper = dict(rows=['t1.6', 't3.2', 't8.8'], rfid_in1k=9.21, usage=0.29)
