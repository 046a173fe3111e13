"""IBQ with 262,144 codes and 4 residual blocks a level."""

from mmengine.config import read_base

with read_base():
    from .ibq_16k_4res import *

model.tokenizer.quantizer.update(codebook_size=262144)
paper = dict(rows=['t8.15'], rfid_in1k=1.00, lpips=0.20, usage=84)
