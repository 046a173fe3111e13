"""`mini/optvq.py` with 16,384 codes."""

from mmengine.config import read_base

with read_base():
    from ..optvq import *

model.tokenizer.quantizer.update(codebook_size=16384)
