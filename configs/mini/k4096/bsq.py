"""`mini/bsq.py` with 4,096 codes."""

from mmengine.config import read_base

with read_base():
    from ..bsq import *

model.tokenizer.quantizer.update(codebook_size=4096)
