"""`mini/fvq_no_anneal.py` with 4,096 codes, 4 a token."""

from mmengine.config import read_base

with read_base():
    from ..fvq_no_anneal import *

model.tokenizer.quantizer.update(codebook_size=4096)
