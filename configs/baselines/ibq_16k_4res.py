"""IBQ with 4 residual blocks a level."""

from mmengine.config import read_base

with read_base():
    from .ibq_16k import *

model.tokenizer.encoder.update(num_res_blocks=4)
model.tokenizer.decoder.update(num_res_blocks=4)
paper = dict(rows=['t8.14'], rfid_in1k=1.37, lpips=0.22, usage=96)
