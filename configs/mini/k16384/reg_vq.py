"""`mini/reg_vq.py` with 16,384 codes."""

from mmengine.config import read_base

with read_base():
    from ..reg_vq import *

model.tokenizer.quantizer.update(codebook_size=16384)
