"""`mini/optvq.py` with 4,096 codes."""

from mmengine.config import read_base

with read_base():
    from ..optvq import *

model.tokenizer.quantizer.update(codebook_size=4096)
