"""`mini/fvq.py` with 4,096 codes, 4 a token."""

from mmengine.config import read_base

with read_base():
    from ..fvq import *

model.tokenizer.quantizer.update(codebook_size=4096)
