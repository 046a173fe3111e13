"""`mini/rq.py` with 4,096 codes."""

from mmengine.config import read_base

with read_base():
    from ..rq import *

model.tokenizer.quantizer.quantizer.update(codebook_size=4096)
