"""`mini/fvq_dit.py` with 4,096 codes, 4 a token."""

from mmengine.config import read_base

with read_base():
    from ..fvq_dit import *

model.tokenizer.quantizer.update(codebook_size=4096)
